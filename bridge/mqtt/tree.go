package mqtt

import "strings"

// tree holds subscriptions by the levels of their filters, so that finding
// the subscribers of a topic does not depend on how many there are.
type tree struct {
	root treeNode
}

type treeNode struct {
	children map[string]*treeNode // by level; "+" and "#" too
	subs     []*subscription
}

// insert adds sub under its filter.
func (t *tree) insert(sub *subscription) {
	n := &t.root
	for level := range strings.SplitSeq(sub.filter, "/") {
		child := n.children[level]
		if child == nil {
			child = &treeNode{}
			if n.children == nil {
				n.children = map[string]*treeNode{}
			}
			n.children[level] = child
		}
		n = child
	}
	n.subs = append(n.subs, sub)
}

// remove takes sub out, and the nodes that only it needed.
func (t *tree) remove(sub *subscription) { t.root.remove(sub, sub.filter, true) }

func (n *treeNode) remove(sub *subscription, rest string, more bool) (empty bool) {
	if more {
		level, after, found := strings.Cut(rest, "/")
		if child := n.children[level]; child != nil && child.remove(sub, after, found) {
			delete(n.children, level)
		}
	} else {
		for i, s := range n.subs {
			if s == sub {
				n.subs = append(n.subs[:i], n.subs[i+1:]...)
				break
			}
		}
	}
	return len(n.children) == 0 && len(n.subs) == 0
}

// match appends the subscriptions whose filter matches topic. Topics that
// start with $ are never stored, so wildcards need no exception here.
func (t *tree) match(dst []*subscription, topic string) []*subscription {
	return t.root.match(dst, topic, true)
}

func (n *treeNode) match(dst []*subscription, rest string, more bool) []*subscription {
	if hash := n.children["#"]; hash != nil {
		dst = append(dst, hash.subs...)
	}
	if !more {
		return append(dst, n.subs...)
	}
	level, after, found := strings.Cut(rest, "/")
	if child := n.children[level]; child != nil && level != "+" && level != "#" {
		dst = child.match(dst, after, found)
	}
	if plus := n.children["+"]; plus != nil {
		dst = plus.match(dst, after, found)
	}
	return dst
}
