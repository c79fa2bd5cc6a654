// Package importer brings spaces, indexes, sequences, users and rows of a stopped Tarantool into a running cluster.
// Effects: it reads files, holds the lock of the source's directory, and asks an instance over its binary protocol.
//
// The files are read twice. Scan reads everything once, verifies it, and keeps what the dictionary says at the end: which
// spaces there will be. Run reads it again and repeats on the cluster what happened on the source, statement by
// statement, on spaces that have another name until they are whole. So nothing is written before all files are known
// to be good, no memory is needed for rows, and an import that was interrupted cannot be mistaken for a complete one.
//
// Start with source.go (files and rows), dictionary.go (what system rows mean), plan.go, then load.go.
package importer
