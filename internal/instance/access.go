package instance

import (
	"errors"
	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys"
)

// rightsOf builds the grants from the catalog, in the form in which _user and _priv show them.
func rightsOf(s *catalog.State) *access.Rights {
	var accounts []access.Account
	s.UserRows(func(row []byte) bool {
		if a, err := access.ParseAccount(row); err == nil {
			accounts = append(accounts, a)
		}
		return true
	})
	var grants []access.GrantRow
	s.PrivRows(func(p catalog.PrivRow) bool {
		if g, ok, err := access.ParseGrant(p.Append(nil)); err == nil && ok {
			grants = append(grants, g)
		}
		return true
	})
	grants = append(grants, publicViews()...)
	return access.Build(accounts, grants)
}

// publicViews are the grants of role public that no row holds: everybody may read the system views, which show what he
// may see.
func publicViews() []access.GrantRow {
	var grants []access.GrantRow
	dictionary.Rows(func(space uint32, row []byte) bool {
		if space != dictionary.SpaceSpace {
			return true
		}
		_, b, err := msgpack.ReadArrayLen(row)
		if err != nil {
			return true
		}
		id, _, err := msgpack.ReadUint(b)
		if _, view := dictionary.ViewOf(uint32(id)); err == nil && view {
			grants = append(grants, access.GrantRow{Grantor: catalog.AdminID, Grantee: catalog.PublicID,
				Type: access.Space, ID: uint32(id), Privs: access.Read})
		}
		return true
	})
	return grants
}

// operationOf names a change of users or grants for the audit log.
func operationOf(req *iproto.Request) string {
	return iproto.TypeName(req.Type) + " " + map[uint32]string{dictionary.SpaceUser: "user", dictionary.SpacePriv: "grant"}[req.SpaceID]
}

// auditIntent puts a change of users or grants on record before it is made. What can not be put on record is not done.
func (b *backend) auditIntent(user *box.User, req *iproto.Request) error {
	err := b.i.audit.Write(audit.Entry{Event: "privileged_intent", Who: user.Name, What: operationOf(req), Privileged: true})
	if err == nil {
		return nil
	}
	code := errcode.WALIO
	if errors.Is(err, sys.ErrDiskFull) {
		code = errcode.DiskFull
	}
	return errcode.Newf(code, "the audit log can not be written, so users and grants can not be changed: %v", err)
}

// auditAccess puts a change of users or grants on record, done or refused.
func (b *backend) auditAccess(s *server.Session, user *box.User, req *iproto.Request, err error) {
	e := event.Privileged{At: b.i.clock.Wall(), Who: user.Name, Where: s.Peer(), What: operationOf(req), Result: "ok"}
	if err != nil {
		e.Result = "refused: " + err.Error()
	}
	b.i.sink.Emit(e)
}
