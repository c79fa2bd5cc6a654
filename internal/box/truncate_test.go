package box

import (
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
)

// TestTruncateRights: everybody may write _truncate, but each row of it needs the right to write the space that it empties,
// whatever statement makes the row.
func TestTruncateRights(t *testing.T) {
	s := newTxFixture(t)
	s.run(`insert 330 [600,1]`)
	const user = 40
	everybody := access.GrantRow{Grantee: user, Type: access.Space, ID: dictionary.SpaceTruncate, Privs: access.Write}
	writer := access.GrantRow{Grantee: user, Type: access.Space, ID: 600, Privs: access.Write}
	for _, grants := range [][]access.GrantRow{{everybody}, {everybody, writer}} {
		rights := access.Build([]access.Account{{ID: user, Name: "ann"}}, grants)
		for _, stmt := range []Statement{
			{Kind: Insert, Tuple: fromJSON(t, `[600,2]`)}, {Kind: Replace, Tuple: fromJSON(t, `[600,2]`)},
			{Kind: Upsert, Tuple: fromJSON(t, `[600,2]`), Ops: fromJSON(t, `[["+",1,1]]`)},
			{Kind: Update, Key: fromJSON(t, `[600]`), Ops: fromJSON(t, `[["+",1,1]]`)}, {Kind: Delete, Key: fromJSON(t, `[600]`)},
		} {
			stmt.SpaceID, stmt.User = dictionary.SpaceTruncate, &User{ID: user, Name: "ann", Rights: rights}
			s.version++
			s.e.Begin(s.version)
			_, err := s.e.Execute(&stmt)
			s.e.Seal()
			s.e.Publish(s.version)
			denied := err != nil && strings.Contains(err.Error(), "access to space 'tree' is denied")
			if allowed := len(grants) == 2; denied == allowed {
				t.Errorf("statement %d with %d grants: %v", stmt.Kind, len(grants), err)
			}
		}
	}
}
