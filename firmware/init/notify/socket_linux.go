package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Socket receives messages of one user.
type Socket struct {
	conn *net.UnixConn
	uid  int
}

// Listen makes the socket. Only processes of that user are heard: the kernel
// says who sent each datagram.
func Listen(path string, uid, gid int) (*Socket, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &Socket{conn, uid}
	raw, err := conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, set, os.Chown(path, os.Getuid(), gid), os.Chmod(path, 0o620))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Receive calls take for each message until ctx is done, and complain, which may
// be called often, for what was refused.
func (s *Socket) Receive(ctx context.Context, take func(pid int, m Message), complain func(error)) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	buf, oob := make([]byte, messageBytesMax+1), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pid, err := s.sender(oob[:oobn])
		if err != nil {
			complain(err)
			continue
		}
		m, err := Parse(buf[:n])
		if err != nil {
			complain(err)
			continue
		}
		take(pid, m)
	}
}

// ErrSender is found in the error of a message from somebody else.
var ErrSender = errors.New("is not who may send here")

func (s *Socket) sender(oob []byte) (pid int, err error) {
	parts, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(parts) != 1 {
		return 0, fmt.Errorf("a message without its sender: %w", ErrSender)
	}
	who, err := unix.ParseUnixCredentials(&parts[0])
	if err != nil {
		return 0, fmt.Errorf("a message without its sender: %w", ErrSender)
	}
	if int(who.Uid) != s.uid {
		return 0, fmt.Errorf("user %d, process %d: %w", who.Uid, who.Pid, ErrSender)
	}
	return int(who.Pid), nil
}
