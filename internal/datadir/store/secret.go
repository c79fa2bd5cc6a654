package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/sys"
)

// othersMode are the permission bits that would show a secret to other users of the machine.
const othersMode fs.FileMode = 0o077

// cookieRandomBytes is how much chance is in a cookie.
const cookieRandomBytes = 32

// Cookie reads the cookie, or makes the file where the rules allow it. used says whether the directory has an identity,
// chance is a source of cryptographic randomness. Every error is one of use and says how to mend it.
func (d Dir) Cookie(cfg *config.Config, used bool, chance io.Reader) (config.Secret, error) {
	path := cfg.CookiePath()
	_, err := d.FS.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return config.Secret{}, fmt.Errorf("cookie: %w", err)
	}
	action, err := cfg.CookiePlan(err == nil, used)
	if err != nil {
		return config.Secret{}, err
	}
	if action == config.CookieMake {
		if err := d.makeSecret(path, chance); err != nil {
			return config.Secret{}, fmt.Errorf("cookie: make %s: %w", path, err)
		}
	}
	data, err := readSecret(d.FS, path)
	if err != nil {
		return config.Secret{}, fmt.Errorf("cookie: %w", err)
	}
	secret, err := config.CheckCookie(data)
	if err != nil {
		return config.Secret{}, fmt.Errorf("cookie %s: %w", path, err)
	}
	return secret, nil
}

// AdminPassword returns the first password of user admin from the environment's value or the file that was named; it is
// empty when neither was given. Every error is one of use.
func (d Dir) AdminPassword(cfg *config.Config) (config.Secret, error) {
	if cfg.AdminPasswordFile == "" {
		if cfg.AdminPassword.Empty() {
			return config.Secret{}, nil
		}
		return config.CheckPassword(cfg.AdminPassword.Reveal())
	}
	return ReadPassword(d.FS, cfg.AdminPasswordFile)
}

// ReadPassword reads a password file once to its end; it may be a pipe. A regular file that other users can read is
// refused.
func ReadPassword(fsys sys.FS, path string) (config.Secret, error) {
	data, err := readSecret(fsys, path)
	if err != nil {
		return config.Secret{}, fmt.Errorf("password file: %w", err)
	}
	secret, err := config.CheckPassword(data)
	if err != nil {
		return config.Secret{}, fmt.Errorf("password file %s: %w", path, err)
	}
	return secret, nil
}

// MakePassword returns the content of a secret file, which it makes with random content if there is none.
func MakePassword(fsys sys.FS, dir, name string, chance io.Reader) (config.Secret, error) {
	d := Dir{FS: fsys, Path: dir}
	_, err := fsys.Lstat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = d.makeSecret(d.path(name), chance)
	}
	if err != nil {
		return config.Secret{}, fmt.Errorf("password file: make %s: %w", d.path(name), err)
	}
	return ReadPassword(fsys, d.path(name))
}

// makeSecret writes a file with random content, in hexadecimal digits, for this user only.
func (d Dir) makeSecret(path string, chance io.Reader) error {
	raw := make([]byte, cookieRandomBytes)
	if _, err := io.ReadFull(chance, raw); err != nil {
		return err
	}
	dir, name := ".", path
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		dir, name = path[:slash], path[slash+1:]
	}
	return sys.WriteFileAtomic(d.FS, dir, name, []byte(hex.EncodeToString(raw)+"\n"), fileMode)
}

// readSecret reads at most the bytes of a password and its newline, and checks the permissions of a regular file.
func readSecret(fsys sys.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", path)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&othersMode != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	const bytesMax = config.PasswordBytesMax + 2
	data, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > bytesMax {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, config.PasswordBytesMax)
	}
	return data, nil
}
