package trunk

import (
	"context"
	"log/slog"
)

// terse is a log handler for sipgo, which logs what it cannot parse whole and
// as an error. What matters we log ourselves; the rest is for debugging.
type terse struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (h terse) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

const maxAttr = 120

// Handle implements [slog.Handler].
func (h terse) Handle(ctx context.Context, r slog.Record) error {
	short := slog.NewRecord(r.Time, slog.LevelDebug, shorten(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "data" && a.Key != "caller" {
			short.AddAttrs(slog.String(a.Key, shorten(a.Value.String())))
		}
		return true
	})
	return h.Handler.Handle(ctx, short)
}

// WithAttrs implements [slog.Handler].
func (h terse) WithAttrs(a []slog.Attr) slog.Handler { return terse{h.Handler.WithAttrs(a)} }

// WithGroup implements [slog.Handler].
func (h terse) WithGroup(name string) slog.Handler { return terse{h.Handler.WithGroup(name)} }

func shorten(s string) string {
	if len(s) > maxAttr {
		return s[:maxAttr] + "..."
	}
	return s
}
