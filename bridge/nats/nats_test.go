package nats

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

const patience = 10 * time.Second

func start(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", -1, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return "nats://" + s.Addr().String()
}

func connected(t *testing.T, cfg Config) *Conn {
	t.Helper()
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-c.Done() })
	return c
}

// echo subscribes with a raw connection and answers every message with its own
// headers and payload.
func echo(t *testing.T, url string) {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "CONNECT {\"headers\":true,\"verbose\":false}\r\nSUB echo 7\r\nPING\r\n")
	for line := ""; !strings.HasPrefix(line, "PONG"); {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	t.Cleanup(func() { nc.Close(); group.Wait() })
	group.Go(func() {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			f := strings.Fields(line)
			if f[0] != "HMSG" {
				continue
			}
			var total int
			fmt.Sscan(f[5], &total)
			body := make([]byte, total+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			fmt.Fprintf(nc, "HPUB %s %s %s\r\n%s", f[3], f[4], f[5], body)
		}
	})
}

func TestRequest(t *testing.T) {
	url := start(t, &server.Options{})
	echo(t, url)
	c := connected(t, Config{URLs: []string{url}})
	h := EndHeader(AppendNumber(AppendField(BeginHeader(nil), "A", "b c"), "N", -5))
	m, err := c.Request(t.Context(), "echo", h, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := m.Header.Get("A")
	n, _ := m.Header.Get("N")
	if _, none := m.Header.Get("a"); string(m.Data) != "payload" || a != "b c" || n != "-5" || none {
		t.Errorf("%+v %q", m.Header, m.Data)
	}
	if _, err := c.Request(t.Context(), "nobody", nil, nil); !errors.Is(err, ErrNoResponders) {
		t.Errorf("nobody: %v", err)
	}
	if err := c.Publish("a b", "", nil, nil); err == nil {
		t.Error("a subject with a space was taken")
	}
	c.attentive()
	big := make([]byte, c.Info().MaxPayload+1)
	if _, err := c.Request(t.Context(), "echo", nil, big); err == nil || !strings.Contains(err.Error(), "Maximum Payload") {
		t.Errorf("too large: %v", err)
	}
	<-c.Done()
	if _, err := c.Request(t.Context(), "echo", nil, nil); err == nil {
		t.Error("a closed connection took a request")
	}
}

// attentive has c wait for the server's last words, however slow the machine is.
func (c *Conn) attentive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patient = patience
}

// A server that refuses says why and closes. The write that meets the closed
// connection tells what the server said, and not that it was closed.
func TestLastWords(t *testing.T) {
	for range 20 {
		client, server := net.Pipe()
		c := newConn(client, bufio.NewReader(client), Info{})
		c.attentive()
		go func() {
			io.ReadFull(server, make([]byte, 4))
			server.Write([]byte("-ERR 'Maximum Payload Violation'\r\n"))
			server.Close()
		}()
		c.writing.Lock() // the reader starts when the write has failed
		c.w.WriteString("PING")
		c.w.Flush()
		client.SetWriteDeadline(time.Unix(1, 0))
		_, err := client.Write([]byte("x"))
		c.writing.Unlock()
		c.start()
		if err = c.failed(err); err == nil || !strings.Contains(err.Error(), "Maximum Payload") {
			t.Fatalf("%v", err)
		}
		<-c.Done()
	}
}

// A server that says nothing: the write's own error is the reason.
func TestNoLastWords(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	c := newConn(client, bufio.NewReader(client), Info{})
	answered := make(chan error, 1)
	if _, _, err := c.Expect("s", func(_ Msg, err error) { answered <- err }); err != nil {
		t.Fatal(err)
	}
	c.start()
	reset := errors.New("reset")
	if err := c.failed(reset); !errors.Is(err, reset) {
		t.Error(err)
	}
	if err := <-answered; !errors.Is(err, reset) {
		t.Errorf("the waiting request heard %v", err)
	}
}

func TestWhoWeAre(t *testing.T) {
	password := start(t, &server.Options{Username: "u", Password: "p"})
	token := start(t, &server.Options{Authorization: "t"})
	jwts, creds := withJWT(t)
	for _, c := range []struct {
		what string
		cfg  Config
		ok   bool
	}{
		{"password", Config{URLs: []string{password}, User: "u", Password: "p"}, true},
		{"wrong password", Config{URLs: []string{password}, User: "u", Password: "q"}, false},
		{"nothing", Config{URLs: []string{password}}, false},
		{"token", Config{URLs: []string{token}, Token: "t"}, true},
		{"wrong token", Config{URLs: []string{token}, Token: "u"}, false},
		{"credentials", Config{URLs: []string{jwts}, Creds: creds}, true},
		{"no credentials", Config{URLs: []string{jwts}}, false},
		{"the second server", Config{URLs: []string{"nats://127.0.0.1:1", password}, User: "u", Password: "p"}, true},
	} {
		conn, err := Connect(t.Context(), c.cfg)
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrAuth) {
			t.Errorf("%s: %v", c.what, err)
		}
		if conn != nil {
			conn.Close()
			<-conn.Done()
		}
	}
}

// withJWT starts a server that knows an operator and an account, and writes the
// credentials of a user.
func withJWT(t *testing.T) (url string, creds *Creds) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	operator, err := nkeys.CreateOperator()
	must(err)
	account, err := nkeys.CreateAccount()
	must(err)
	user, err := nkeys.CreateUser()
	must(err)
	operatorID, _ := operator.PublicKey()
	accountID, _ := account.PublicKey()
	userID, _ := user.PublicKey()
	claims := jwt.NewAccountClaims(accountID)
	accountJWT, err := claims.Encode(operator)
	must(err)
	userJWT, err := jwt.NewUserClaims(userID).Encode(account)
	must(err)
	resolver := &server.MemAccResolver{}
	must(resolver.Store(accountID, accountJWT))
	url = start(t, &server.Options{TrustedKeys: []string{operatorID}, AccountResolver: resolver})
	seed, err := user.Seed()
	must(err)
	text, err := jwt.FormatUserConfig(userJWT, seed)
	must(err)
	file := filepath.Join(t.TempDir(), "user.creds")
	must(os.WriteFile(file, text, 0o600))
	creds, err = LoadCreds(file)
	must(err)
	broken := strings.Replace(string(text), string(seed[10:20]), string(seed[11:20])+"A", 1)
	if _, err := parseCreds(broken); err == nil {
		t.Error("a broken seed was taken")
	}
	accountSeed, _ := account.Seed()
	if _, err := parseSeed(string(accountSeed)); err == nil || !strings.Contains(err.Error(), "not a user's") {
		t.Errorf("the seed of an account: %v", err)
	}
	return url, creds
}

// A hostile server must cost neither memory nor the process.
func TestHostileServer(t *testing.T) {
	const info = "INFO {\"headers\":true,\"max_payload\":1000}\r\n"
	for what, text := range map[string]string{
		"no NATS":            "SSH-2.0-OpenSSH_9.2\r\n",
		"no JSON":            "INFO {\r\n",
		"no headers":         "INFO {}\r\n",
		"endless line":       "INFO " + strings.Repeat("x", 100_000),
		"nonsense":           info + "PONG\r\nFOO\r\n",
		"huge message":       info + "PONG\r\nMSG a 1 99999999999\r\n",
		"negative message":   info + "PONG\r\nMSG a 1 -1\r\n",
		"few fields":         info + "PONG\r\nMSG\r\n",
		"many fields":        info + "PONG\r\nMSG a 1 b c 5\r\n",
		"headers beyond all": info + "PONG\r\nHMSG a 1 10 5\r\nxxxxx\r\n",
		"no header line":     info + "PONG\r\nHMSG a 1 5 5\r\nxxxxx\r\n",
		"no end":             info + "PONG\r\nMSG a 1 5\r\nxxxxxyy",
		"an error":           info + "PONG\r\n-ERR 'Stale Connection'\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				fmt.Fprint(nc, text)
				nc.SetReadDeadline(time.Now().Add(patience))
				for b := make([]byte, 1000); err == nil; {
					_, err = nc.Read(b)
				}
			}()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, err := Connect(t.Context(), Config{URLs: []string{"nats://" + l.Addr().String()}})
			if err == nil {
				select {
				case <-c.Done():
					err = c.Err()
				case <-time.After(patience):
				}
			}
			if err == nil {
				t.Error("the connection lasts")
			}
			runtime.ReadMemStats(&after)
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
				t.Errorf("%d bytes were allocated: %v", spent, err)
			}
		})
	}
}

// An unanswered server does not hold us for longer than the timeout.
func TestTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	if _, err := Connect(t.Context(), Config{URLs: []string{"nats://" + l.Addr().String()}, Timeout: 20 * time.Millisecond}); err == nil || time.Since(began) > patience {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, Config{URLs: []string{"nats://" + l.Addr().String()}}); err == nil {
		t.Error("connected without a context")
	}
}

func TestFields(t *testing.T) {
	for s, want := range map[string]bool{"A-b.c": true, "": false, "a:b": false, "a b": false, "a\r": false, "ä": false} {
		if FieldName(s) != want {
			t.Errorf("name %q: %v", s, !want)
		}
	}
	for s, want := range map[string]bool{"": true, "a: b": true, "ä": true, " a": false, "a ": false, "a\nb": false, "a\x7f": false} {
		if FieldValue(s) != want {
			t.Errorf("value %q: %v", s, !want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("NATS/1.0 503\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\nA: b\r\nC:d\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := ParseHeader(b)
		if err != nil {
			return
		}
		again := BeginHeader(nil)
		for _, x := range h {
			again = AppendField(again, x.Name, x.Value)
		}
		if h2, _, err := ParseHeader(EndHeader(again)); err != nil || len(h2) != len(h) {
			t.Fatalf("%q: %v, then %v %v", b, h, h2, err)
		}
	})
}

func TestConfigMistakes(t *testing.T) {
	for _, url := range []string{"", "http://h", "nats://", "nats://u:p@h", "nats://h/x", "nats:h", "nats://h:x"} {
		if err := (&Config{URLs: []string{url}}).Validate(); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
	if err := (&Config{URLs: []string{"nats://h", "tls://[::1]:5"}}).Validate(); err != nil {
		t.Error(err)
	}
}
