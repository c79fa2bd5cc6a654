// Command etcd is the other side of the cluster's benchmark, in a module of its own so that the product has none of its
// dependencies: etcd itself, built from its server module, and a load of puts through its client. Effects: network,
// clock; as a server, files. It measures; what is compared is said by the program beside it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

const usage = `etcd server [FLAGS OF ETCD]   one member
etcd load [FLAGS]             puts, and a line of JSON about them
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	switch os.Args[1] {
	case "server":
		os.Args = append(os.Args[:1], os.Args[2:]...)
		etcdmain.Main(os.Args)
	case "load":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := load(ctx, os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "etcd load:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}
