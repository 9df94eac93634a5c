package kiln

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
)

func init() { slog.SetDefault(slog.New(logHandler{})) }

// logHandler hands lines to the host, which adds time, job and plugin, and decides what is shown. Attributes follow the
// message as key=value.
type logHandler struct {
	prefix string // Of keys: the groups that are open.
	attrs  string
}

func (h logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h logHandler) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(attr slog.Attr) bool {
		h = h.with(attr)
		return true
	})
	hostLog(logLevel(record.Level), "", utf8(strings.TrimSpace(record.Message+h.attrs)))
	return nil
}

func (h logHandler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.prefix += name + "."
	}
	return h
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, attr := range attrs {
		h = h.with(attr)
	}
	return h
}

func (h logHandler) with(attr slog.Attr) logHandler {
	attr.Value = attr.Value.Resolve()
	if attr.Equal(slog.Attr{}) {
		return h
	}
	if attr.Value.Kind() == slog.KindGroup {
		members := h.WithGroup(attr.Key).WithAttrs(attr.Value.Group()).(logHandler)
		return logHandler{h.prefix, members.attrs}
	}
	h.attrs += " " + quoted(h.prefix+attr.Key) + "=" + quoted(attr.Value.String())
	return h
}

// quoted keeps a key or value apart from what stands beside it.
func quoted(text string) string {
	apart := func(r rune) bool { return r == '=' || r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if text == "" || strings.ContainsFunc(text, apart) {
		return strconv.Quote(text)
	}
	return text
}

// logLevel is the level's number in wasi:logging.
func logLevel(level slog.Level) uint32 {
	switch {
	case level < slog.LevelDebug:
		return 0 // trace
	case level < slog.LevelInfo:
		return 1
	case level < slog.LevelWarn:
		return 2
	case level < slog.LevelError:
		return 3
	case level < slog.LevelError+4:
		return 4
	}
	return 5 // critical
}
