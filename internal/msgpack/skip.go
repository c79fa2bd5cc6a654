package msgpack

import "math"

// Skip returns what follows the first value of b. The value is checked to be whole and well-formed, nested at most
// DepthMax deep.
func Skip(b []byte) (rest []byte, err error) {
	if len(b) > 0 {
		if n := int(fixed[b[0]]); n != 0 && n <= len(b) {
			return b[n:], nil
		}
	}
	return skipLong(b)
}

func skipLong(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return b, ErrTruncated
	}
	if class[b[0]]&15 == sizeTree {
		return skipTree(b, 0)
	}
	n := scalarSize(b)
	if uint(len(b)) < uint(n) {
		return b, sizeError(b[0])
	}
	return b[n:], nil
}

// Check reports whether b is exactly one well-formed value.
func Check(b []byte) error {
	rest, err := Skip(b)
	if err == nil && len(rest) != 0 {
		return ErrTrailing
	}
	return err
}

// scalarSize returns the length of the scalar value that b starts with, more than len(b) if that cannot be told or
// byte c1 is met.
func scalarSize(b []byte) int {
	if n := int(fixed[b[0]]); n != 0 {
		return n
	}
	return scalarSizeLong(b, class[b[0]])
}

func scalarSizeLong(b []byte, k uint8) int {
	switch Type(k >> 4) {
	case TypeStr, TypeBin:
		if head, size, ok := rawSize(b); ok {
			return head + int(size)
		}
	case TypeExt:
		if head, size, ok := extSize(b); ok {
			return head + int(size)
		}
	}
	return math.MaxInt
}

func sizeError(c byte) error {
	if c == 0xc1 {
		return ErrBadByte
	}
	return ErrTruncated
}

// skipTree skips an array or map, inside of depth others.
func skipTree(b []byte, depth int) ([]byte, error) {
	n, head, ok := treeSize(b)
	if ok && TypeOf(b[0]) == TypeMap {
		n *= 2
	}
	if !ok || n > len(b)-head {
		return b, ErrTruncated
	}
	if depth == DepthMax {
		return b, ErrDepth
	}
	rest := b[head:]
	for ; n > 0; n-- {
		if len(rest) == 0 {
			return b, ErrTruncated
		}
		if class[rest[0]]&15 == sizeTree {
			var err error
			if rest, err = skipTree(rest, depth+1); err != nil {
				return b, err
			}
			continue
		}
		size := scalarSize(rest)
		if uint(len(rest)) < uint(size) {
			return b, sizeError(rest[0])
		}
		rest = rest[size:]
	}
	return rest, nil
}
