// Command lycosa is the database server and its command line. Effects: all of them; it decides nothing itself.
package main

import "github.com/lycosadb/lycosa"

func main() {
	lycosa.Main()
}
