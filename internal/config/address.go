package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SplitAddress splits "host:port", "[v6]:port" or ":port" and checks the port (0 to 65535).
func SplitAddress(address string) (host string, port uint16, err error) {
	colon := strings.LastIndexByte(address, ':')
	if colon < 0 {
		return "", 0, fmt.Errorf("%q is not an address: write host:port, as in 127.0.0.1:3301", address)
	}
	host = address[:colon]
	n, err := strconv.ParseUint(address[colon+1:], 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no valid port: write host:port with a port up to 65535", address)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.ContainsRune(host, ':') {
		return "", 0, fmt.Errorf("%q: an IPv6 address goes in brackets, as in [::1]:3301", address)
	}
	if strings.ContainsAny(host, " \t[]/,") {
		return "", 0, fmt.Errorf("%q has no valid host", address)
	}
	return host, uint16(n), nil
}

// IsWildcard reports whether an address means every interface, so that nobody can be told to connect to it.
func IsWildcard(address string) bool {
	host, _, err := SplitAddress(address)
	if err != nil {
		return false
	}
	ip, perr := netip.ParseAddr(host)
	return host == "" || (perr == nil && ip.IsUnspecified())
}

// IsLoopback reports whether an address can only be reached from this machine.
func IsLoopback(address string) bool {
	host, _, err := SplitAddress(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, perr := netip.ParseAddr(host)
	return perr == nil && ip.Unmap().IsLoopback()
}

// sameAddress reports whether two addresses are surely the same: equal, or loopback with the same port.
func sameAddress(a, b string) bool {
	if a == b {
		return true
	}
	_, pa, errA := SplitAddress(a)
	_, pb, errB := SplitAddress(b)
	return errA == nil && errB == nil && pa == pb && IsLoopback(a) && IsLoopback(b)
}

func checkAddress(text string) error {
	_, port, err := SplitAddress(text)
	if err == nil && port == 0 {
		return fmt.Errorf("%q: port 0 cannot be told to others, write a number", text)
	}
	return err
}

func checkPeer(text string) error {
	if err := checkAddress(text); err != nil {
		return err
	}
	if IsWildcard(text) {
		return fmt.Errorf("%q: nobody can connect to a wildcard, write the host", text)
	}
	return nil
}

func checkHTTPAddress(text string) error {
	if text == "" {
		return nil
	}
	_, _, err := SplitAddress(text)
	return err
}

// JoinAddress is the inverse of SplitAddress.
func JoinAddress(host string, port uint16) string {
	if strings.ContainsRune(host, ':') {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}
