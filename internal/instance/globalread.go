package instance

import (
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
)

// globalRows shows the rows of a global table: those of the newest view of the catalog here. The definition by which they are
// asked for is that of the replicaset's dictionary, which follows the catalog by way of a log of its own and may be of before
// or after.
type globalRows struct {
	c     *core
	table uint32
}

// Ascend yields the rows in the order of the catalog's primary key.
func (g globalRows) Ascend(yield func(tuple []byte) bool) { g.c.catalog.View().Ascend(g.table, yield) }

// Sorted returns the rows in the order of an index, from one view. Error 12070: the catalog has no such index now.
func (g globalRows) Sorted(sp *box.Space, ix *box.Index) ([][]byte, error) {
	rows, ok := g.c.catalog.View().Sorted(g.table, ix.ID, ix.Unique, ix.Def.Parts())
	if !ok {
		return nil, errcode.New(errcode.GlobalTableChanges, sp.Name)
	}
	return rows, nil
}
