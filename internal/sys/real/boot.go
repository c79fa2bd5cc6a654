package real

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
)

// bootFile is where the kernel shows the id of this boot of the machine.
const bootFile = "/proc/sys/kernel/random/boot_id"

// BootID names this boot of the machine. Where the kernel does not tell, it is another one at each call, so that nobody takes two
// boots for one.
func BootID() string {
	b, err := os.ReadFile(bootFile)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id
	}
	return hex.EncodeToString(random())
}

func random() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return b
}
