// Package bench is the load generator of the command bench. Effects: network, threads, clocks, and files of /proc
// through sys. It measures any server of the binary protocol and knows nothing about ours: a thread holds its connections
// in one epoll set, builds requests into buffers that it keeps, and reads of a reply only its length, its code, the
// request it answers and the number of rows. What is compared with what, and how often, is decided by who calls it.
package bench
