package httpd

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lycosadb/lycosa/internal/meter"
)

// FuzzRequest gives foreign requests to all routes: each gets an answer, none panics, and nothing is changed by one.
func FuzzRequest(f *testing.F) {
	b := newBench()
	for path := range b.server.routes {
		f.Add([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	f.Add([]byte("POST /api/v1/instance?x=%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nAccept: */*;q=2\r\n\r\n{\"a\":1}"))
	f.Add([]byte("GET //..%2f..%00/health/live HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		request := func() *http.Request {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				return nil
			}
			return r
		}
		if request() == nil {
			return
		}
		code := 0
		meter.CheckBound(t, len(raw), uint64(4<<20+64*len(raw)), func() {
			w := httptest.NewRecorder()
			b.server.Handler().ServeHTTP(w, request())
			code = w.Code
		})
		if code == http.StatusInternalServerError || b.log.Len() != 0 {
			t.Errorf("answer %d, log %s", code, b.log)
		}
	})
}
