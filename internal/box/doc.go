// Package box is the engine: spaces of tuples in memory, their indexes, the dictionary that describes them, and the
// versions in which readers see them. Pure: it reads no clock and no file, and starts no goroutine.
//
// One writer at a time works on the newest version. It opens a version with Begin, executes statements, and closes it
// with Seal, which returns the after-images of the rows that changed: one entry of the replicated log. When that entry
// is committed the caller calls Publish with the same number and readers see it; Rollback unlinks what was sealed and
// never committed. Apply does the same for an entry that comes from the log.
//
// Readers run on any goroutine. A Reader pins the newest published version for the length of one call and walks
// immutable pages (see docs/adr/0001-readers-writers-and-reclamation.md); a View pins one for as long as it is open.
//
// What box does not know: the cluster, the log that its entries go to, who leads, and connections. Spaces whose rows live
// elsewhere show themselves through the Virtual interface.
package box
