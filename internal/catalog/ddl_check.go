package catalog

import (
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// checkDDL decides whether a change fits the schema as the catalog knows it. Whether engines can have such a table, and
// whether rows fit, the leaders of the replicasets say, and abort.
func (s *State) checkDDL(d DDL) error {
	indexes := map[DDLKind]int{CreateIndex: 1, DropIndex: 1, AlterIndex: 1}[d.Kind]
	switch {
	case d.Kind < CreateTable || d.Kind > DropObject:
		return errcode.Newf(errcode.CASInvalidOpKind, "Change %d of the schema is not known", d.Kind)
	case d.Kind == CreateTable && len(d.Objects) > objectsMax, d.Kind > CreateTable && d.Kind < SetObject && len(d.Objects) > 0,
		d.Kind >= SetObject && len(d.Objects) != 1:
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("%d sequences or constraints in a change of the schema", len(d.Objects)))
	case d.Kind == CreateTable && len(d.Indexes) > indexesMax, d.Kind != CreateTable && len(d.Indexes) != indexes:
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("%d indexes in a change of the schema", len(d.Indexes)))
	case d.Kind == CreateTable:
		return s.checkCreateTable(d)
	case d.Kind == SetObject:
		return s.checkObject(d.Objects[0])
	case d.Kind == DropObject:
		return s.checkDropObject(d.Objects[0])
	}
	table, ok := s.SchemaTable(d.TableID())
	if !ok {
		return errcode.New(errcode.NoSuchSpace, fmt.Sprintf("#%d", d.TableID()))
	}
	switch d.Kind {
	case DropTable, TruncateTable:
		return nil
	case AlterTable:
		return s.checkTable(d.Table, errcode.AlterSpace)
	}
	i := d.Indexes[0]
	old, known := s.SchemaIndex(i.TableID, i.ID)
	switch {
	case d.Kind == CreateIndex && known:
		return errcode.New(errcode.IndexExists, i.Name)
	case d.Kind != CreateIndex && !known:
		return errcode.New(errcode.NoSuchIndexID, i.ID, table.Name)
	case d.Kind == DropIndex && i.ID == 0 && len(s.SchemaIndexes(i.TableID)) > 1:
		return errcode.New(errcode.ModifyIndex, old.Name, table.Name, "the primary key is dropped last")
	case d.Kind == DropIndex:
		return nil
	}
	return s.checkIndex(table, i)
}

func (s *State) checkCreateTable(d DDL) error {
	t := d.Table
	switch _, known := s.SchemaTable(t.ID); {
	case t.ID < FirstTableID || t.ID > tableIDMax:
		return errcode.New(errcode.CreateSpace, shown(t.Name), fmt.Sprintf("the id of a table is from %d to %d", FirstTableID, tableIDMax))
	case known:
		return errcode.New(errcode.SpaceExists, shown(t.Name))
	}
	if err := s.checkTable(t, errcode.CreateSpace); err != nil {
		return err
	}
	seen, names := map[uint32]bool{}, map[string]bool{}
	for _, i := range d.Indexes {
		if i.TableID != t.ID || seen[i.ID] || names[i.Name] {
			return errcode.New(errcode.CreateSpace, shown(t.Name), "an index is of another table, or there twice")
		}
		seen[i.ID], names[i.Name] = true, true
		if err := s.checkIndex(t, i); err != nil {
			return err
		}
	}
	for n, o := range d.Objects {
		twice := slices.ContainsFunc(d.Objects[:n], func(p SchemaObject) bool { return p.Space == o.Space && p.Key() == o.Key() })
		if o.Table != t.ID || t.IsGlobal() || twice {
			return errcode.New(errcode.CreateSpace, shown(t.Name), "a constraint is of another table, or there twice")
		}
		if err := s.checkReferences(o); err != nil {
			return err
		}
	}
	return nil
}

// checkTable checks the definition of a table that is created or altered; code is the number of errors about it.
func (s *State) checkTable(t SchemaTable, code errcode.Code) error {
	switch {
	case !tuple.IsIdentifier(t.Name) || len(t.Name) > schemaTexts:
		return errcode.New(errcode.Identifier, shown(t.Name))
	case !tuple.IsIdentifier(t.Engine) || len(t.Engine) > nameBytesMax:
		return errcode.New(errcode.Identifier, shown(t.Engine))
	case len(t.Description) > schemaTexts:
		return errcode.New(code, shown(t.Name), "the description is too long")
	case len(t.Format)+len(t.Flags)+len(t.Distribution) > schemaValues:
		return errcode.New(code, shown(t.Name), "the format or the options are too long")
	case !isValue(t.Format) || !isValue(t.Flags) || !isValue(t.Distribution):
		return errcode.New(errcode.InvalidMsgPack, "definition of a table")
	}
	if other, ok := s.SchemaTableByName(t.Name); ok && other.ID != t.ID {
		return errcode.New(errcode.SpaceExists, shown(t.Name))
	}
	if _, ok := s.User(t.Owner); !ok {
		return noSuchUser(t.Owner)
	}
	return nil
}

func (s *State) checkIndex(t SchemaTable, i SchemaIndex) error {
	switch {
	case !tuple.IsIdentifier(i.Name) || len(i.Name) > schemaTexts:
		return errcode.New(errcode.Identifier, shown(i.Name))
	case i.ID > indexIDMax:
		return errcode.New(errcode.ModifyIndex, shown(i.Name), shown(t.Name), "index id too big")
	case len(i.Type) > nameBytesMax || len(i.Opts)+len(i.Parts) > schemaValues:
		return errcode.New(errcode.ModifyIndex, shown(i.Name), shown(t.Name), "type, options or parts are too long")
	case !isValue(i.Opts) || !isValue(i.Parts):
		return errcode.New(errcode.InvalidMsgPack, "definition of an index")
	}
	for _, other := range s.SchemaIndexes(i.TableID) {
		if other.Name == i.Name && other.ID != i.ID {
			return errcode.New(errcode.IndexExists, shown(i.Name))
		}
	}
	return nil
}

// isValue reports whether bytes are nothing or one well-formed value.
func isValue(b []byte) bool { return len(b) == 0 || msgpack.Check(b) == nil }

// shown is what an error shows of a name.
func shown(name string) string { return name[:min(len(name), nameBytesMax)] }
