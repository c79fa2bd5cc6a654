package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/supervisor"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// readSmall reads the files that the configuration is made from.
func readSmall(fsys sys.FS) func(string) ([]byte, error) {
	const bytesMax = 1 << 20
	return func(name string) ([]byte, error) { return sys.ReadFile(fsys, name, bytesMax) }
}

// launch is an instance that is about to be supervised by this process.
type launch struct {
	*app
	cfg      *config.Config
	warnings []string
	// announce writes what a person should know at the start.
	announce func(verdict datadir.Verdict)
	// log is the logger's file, for SIGHUP.
	log *logWriter
}

// supervise locks and looks, makes or reads the secrets, and runs the supervisor until its end. Every error is one of
// use: nothing was started.
func (l *launch) supervise() (code int, err error) {
	unix.Umask(0o077)
	// A closed standard stream must not end a database; the write fails instead.
	signal.Ignore(syscall.SIGPIPE)
	dir := store.Dir{FS: l.fs, Path: l.cfg.DataDir}
	if err := dir.Create(); err != nil {
		return 0, usageError(err)
	}
	logger, file, err := l.newLogger(l.cfg)
	if err != nil {
		return 0, usageError(err)
	}
	l.log = file
	for _, w := range l.warnings {
		logger.Warn(w)
	}
	lock, err := supervisor.AcquireLock(l.fs, dir.Path, supervisor.LockWait, func(text string) {
		fmt.Fprintln(l.Stderr, "lycosa:", text)
	})
	if err != nil {
		return 0, usageError(err)
	}
	defer lock.Release()
	options, err := l.prepare(dir, logger)
	if err != nil {
		return 0, usageError(err)
	}
	options.Lock = lock
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	options.Signals = signals
	return supervisor.Run(options), nil
}

// prepare looks at the locked directory and gathers what the supervisor needs.
func (l *launch) prepare(dir store.Dir, logger *slog.Logger) (supervisor.Options, error) {
	if done, err := dir.SettleRecovery(); err != nil {
		return supervisor.Options{}, err
	} else if done {
		logger.Warn("a recovery from a survivor, which had been interrupted, was brought to its end")
	}
	verdict, err := dir.Look(nil)
	if err != nil {
		return supervisor.Options{}, err
	}
	if err := l.checkUsed(verdict, logger); err != nil {
		return supervisor.Options{}, err
	}
	cookie, password, err := l.secrets(dir, verdict)
	if err != nil {
		return supervisor.Options{}, err
	}
	exported, err := l.cfg.Export()
	if err != nil {
		return supervisor.Options{}, err
	}
	if l.announce != nil {
		l.announce(verdict)
	}
	return supervisor.Options{
		Dir: dir, Config: exported, Cookie: cookie, AdminPassword: password, Program: version, NoRestart: l.cfg.NoRestart,
		ShutdownTimeout: l.cfg.ShutdownTimeout, Logger: logger.With("process", "supervisor"), Clock: real.Clock{},
		OnHangup: func() { l.log.hangup(logger) }, Notifier: supervisor.NewNotifier(l.Environ), Env: l.Environ,
	}, nil
}

// checkUsed refuses names that differ from those of a used directory, and logs what is ignored there.
func (l *launch) checkUsed(v datadir.Verdict, logger *slog.Logger) error {
	if v.Identity == nil {
		return nil
	}
	ignored, err := l.cfg.CheckUsed(config.Known{
		ClusterName: v.Identity.ClusterName, InstanceName: v.Identity.InstanceName,
		Replicaset: v.Identity.ReplicasetName, Tier: v.Identity.Tier,
	})
	if err == nil && ignored != nil {
		logger.Info("ignored, because this instance belongs to a cluster already", "parameters", strings.Join(ignored, ", "))
	}
	return err
}

// secrets reads or makes the cookie, and reads the admin's password where it may still be used. An instance that only
// tells its error gets a cookie that is written nowhere if it has none.
func (l *launch) secrets(dir store.Dir, v datadir.Verdict) (cookie, password config.Secret, err error) {
	used := v.Identity != nil
	if v.Begin == datadir.BeginInitError {
		cookie, err = dir.Cookie(l.cfg, true, rand.Reader)
		if err != nil {
			return config.NewSecret([]byte(rand.Text())), password, nil
		}
		return cookie, password, nil
	}
	if cookie, err = dir.Cookie(l.cfg, used, rand.Reader); err != nil {
		return cookie, password, err
	}
	if !used {
		password, err = dir.AdminPassword(l.cfg)
	}
	return cookie, password, err
}

// loadConfig makes the configuration; help is set instead when the arguments ask for it.
func (a *app) loadConfig(args, environ []string) (cfg *config.Config, warnings []string, help bool, err error) {
	cfg, warnings, err = config.Load(args, environ, readSmall(a.fs))
	if errors.Is(err, config.ErrHelp) {
		return nil, nil, true, nil
	}
	if err != nil {
		return nil, nil, false, usageError(err)
	}
	return cfg, warnings, false, nil
}
