package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// clientFlags are those of the commands that ask a running instance.
type clientFlags struct {
	peer, user, passwordFile string
	timeout                  time.Duration
	json                     bool
}

func (a *app) addClientFlags(cmd *cobra.Command) *clientFlags {
	f := &clientFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.peer, "peer", a.env("LYCOSA_PEER", "127.0.0.1:3301"), "instance to ask, HOST:PORT or the path of an admin.sock (LYCOSA_PEER)")
	flags.StringVar(&f.user, "user", a.env("LYCOSA_USER", "guest"), "user to log in as (LYCOSA_USER)")
	flags.StringVar(&f.passwordFile, "password-file", a.env("LYCOSA_PASSWORD_FILE", ""), "file with the user's password (LYCOSA_PASSWORD_FILE)")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "longest wait")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	return f
}

func (a *app) env(name, otherwise string) string {
	for _, entry := range a.Environ {
		if value, found := strings.CutPrefix(entry, name+"="); found && value != "" {
			return value
		}
	}
	return otherwise
}

// dial connects to the instance that the flags name and logs in.
func (a *app) dial(ctx context.Context, f *clientFlags) (*client.Client, error) {
	options := client.Options{}
	if f.timeout <= 0 {
		return nil, usagef("--timeout %s is not a time to wait", f.timeout)
	}
	isPath := strings.Contains(f.peer, "/")
	if _, _, err := config.SplitAddress(f.peer); err != nil && !isPath {
		return nil, usagef("--peer: %w; the path of a socket contains a slash", err)
	}
	// On an admin.sock the user is admin already.
	if f.user != "guest" {
		options.User = f.user
	}
	if f.passwordFile != "" {
		secret, err := store.ReadPassword(a.fs, f.passwordFile)
		if err != nil {
			return nil, usageError(err)
		}
		options.Password = secret.Reveal()
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := client.Dial(ctx, f.peer, options)
	if err != nil {
		return nil, reachError(f.peer, err)
	}
	return c, nil
}

// call asks the instance to call a function and returns the first value of its answer as JSON.
func (a *app) call(ctx context.Context, f *clientFlags, function string) (json.RawMessage, error) {
	c, err := a.dial(ctx, f)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	values, err := c.Call(ctx, function, nil)
	if err != nil {
		return nil, reachError(f.peer, err)
	}
	return firstValue(values)
}

// reachError gives failures of the connection their exit code; what the server answered is a failure of the command.
func reachError(peer string, err error) error {
	var conn *client.ConnError
	if errors.As(err, &conn) {
		return &codeError{exitUnreachable, fmt.Errorf("cannot reach %s: %w", peer, err)}
	}
	return &codeError{exitFailed, err}
}

// firstValue returns the first value of an array, or the value itself if it is a one-element array in an array.
func firstValue(values []byte) (json.RawMessage, error) {
	n, rest, err := msgpack.ReadArrayLen(values)
	if err != nil || n == 0 {
		return nil, errors.New("the instance's answer has no value")
	}
	text, err := msgpack.ToJSON(nil, rest)
	if err != nil {
		return nil, fmt.Errorf("the instance's answer cannot be read: %w", err)
	}
	return text, nil
}

func (a *app) printJSON(doc json.RawMessage) error {
	var out bytes.Buffer
	if err := json.Indent(&out, doc, "", "  "); err != nil {
		return fmt.Errorf("the instance's answer cannot be shown: %w", err)
	}
	_, err := fmt.Fprintln(a.Stdout, out.String())
	return err
}
