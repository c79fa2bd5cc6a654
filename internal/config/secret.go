package config

import "crypto/subtle"

// Secret is a password or cookie. It prints as "[secret]", cannot be compared with ==, and is compared in constant time.
type Secret struct{ bytes []byte }

const secretText = "[secret]"

// NewSecret wraps a secret; the bytes are copied.
func NewSecret(b []byte) Secret { return Secret{append([]byte(nil), b...)} }

// Reveal returns the secret itself; the caller neither changes nor prints it.
func (s Secret) Reveal() []byte { return s.bytes }

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return len(s.bytes) == 0 }

// Equal compares in time that does not depend on the content.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.bytes, other.bytes) == 1
}

// String never shows the secret.
func (s Secret) String() string { return secretText }

// GoString never shows the secret.
func (s Secret) GoString() string { return secretText }

// MarshalText never shows the secret, so neither JSON nor structured logs do.
func (s Secret) MarshalText() ([]byte, error) { return []byte(secretText), nil }
