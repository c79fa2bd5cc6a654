package rules

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

const (
	module       = "github.com/lycosadb/lycosa"
	root         = "../.."
	functionMax  = 70 // lines, signature and closing brace included
	fileMax      = 600
	depsFile     = "../deps.txt"
	minimumFiles = 100 // fewer means that the walk looked in the wrong place
)

type source struct {
	path string // relative to the repository
	pkg  string // import path below the module, "." for the root
	test bool
	file *ast.File
}

var fset = token.NewFileSet()

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || name == "tools" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, source{path: rel, pkg: filepath.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < minimumFiles {
		t.Fatalf("only %d Go files found", len(all))
	}
	return all
}

// rule is a line of deps.txt.
type rule struct {
	pure   bool
	allows map[string]bool // import path below internal/ → used
}

// readDeps reads internal/deps.txt: "package | pure or effects | what it is" opens a package, "-> import: reason" allows
// one import of another package of ours.
func readDeps(t *testing.T) map[string]*rule {
	t.Helper()
	f, err := os.Open(depsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rules := map[string]*rule{}
	var cur *rule
	scan := bufio.NewScanner(f)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "-> "):
			target, reason, ok := strings.Cut(strings.TrimPrefix(line, "-> "), ":")
			if !ok || strings.TrimSpace(reason) == "" || cur == nil {
				t.Fatalf("deps.txt:%d: an edge needs a reason: %s", n, line)
			}
			cur.allows[strings.TrimSpace(target)] = false
		default:
			parts := strings.Split(line, "|")
			if len(parts) != 3 {
				t.Fatalf("deps.txt:%d: want package | kind | what it is", n)
			}
			kind := strings.TrimSpace(parts[1])
			if kind != "pure" && kind != "effects" {
				t.Fatalf("deps.txt:%d: kind %q", n, kind)
			}
			cur = &rule{pure: kind == "pure", allows: map[string]bool{}}
			rules[strings.TrimSpace(parts[0])] = cur
		}
	}
	return rules
}

// name is how deps.txt calls a package.
func name(pkg string) string { return strings.TrimPrefix(pkg, "internal/") }

func TestImportDirections(t *testing.T) {
	rules := readDeps(t)
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "test") || s.pkg == "internal/rules" {
			continue
		}
		r := rules[name(s.pkg)]
		if r == nil {
			if !seen[s.pkg] {
				t.Errorf("package %s is not in internal/deps.txt", name(s.pkg))
			}
			seen[s.pkg] = true
			continue
		}
		seen[s.pkg] = true
		for _, imp := range s.file.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			target := name(strings.TrimPrefix(strings.TrimPrefix(path, module), "/"))
			if target == "" {
				target = "."
			}
			if _, ok := r.allows[target]; !ok {
				t.Errorf("%s imports %s: no edge in internal/deps.txt allows it", s.path, target)
				continue
			}
			r.allows[target] = true
			if tr := rules[target]; r.pure && tr != nil && !tr.pure {
				t.Errorf("%s: pure package %s imports %s, which has effects", s.path, name(s.pkg), target)
			}
		}
	}
	for pkg, r := range rules {
		if !seen[pkg] && !seen["internal/"+pkg] {
			t.Errorf("deps.txt: package %s does not exist", pkg)
		}
		for target, used := range r.allows {
			if !used {
				t.Errorf("deps.txt: %s -> %s is not used", pkg, target)
			}
		}
	}
}

// impureImports are packages whose use means effects, a clock or chance; the value says which exemptions the design lists.
var impureImports = map[string][]string{
	"os": nil, "net": nil, "net/http": nil, "os/exec": nil, "os/signal": nil, "log": nil, "log/slog": nil,
	"math/rand": nil, "math/rand/v2": nil, "crypto/rand": nil, "io/ioutil": nil, "runtime": nil,
	"sync":                    {"tuple"},      // a pool of collators, which one comparison at a time may use: no decision hangs on it
	"syscall":                 {"box/memory"}, // anonymous memory is an allocation
	"golang.org/x/sys/unix":   nil,
	"path/filepath":           nil,
	"text/template":           nil,
	"html/template":           nil,
	"golang.org/x/sys/plan9":  nil,
	"golang.org/x/sys/unsafe": nil,
}

// impureCalls are functions of otherwise harmless packages.
var impureCalls = regexp.MustCompile(`^(time\.(Now|Since|Until|After|AfterFunc|Sleep|Tick|NewTimer|NewTicker)|uuid\.(New.*|Must))$`)

func TestPurity(t *testing.T) {
	rules := readDeps(t)
	for _, s := range sources(t) {
		r := rules[name(s.pkg)]
		if s.test || r == nil || !r.pure {
			continue
		}
		for _, imp := range s.file.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			if exempt, bad := impureImports[path]; bad && !slices.Contains(exempt, name(s.pkg)) {
				t.Errorf("%s: pure package imports %s", s.path, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: pure package starts a goroutine", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && impureCalls.MatchString(x.Name+"."+n.Sel.Name) {
					t.Errorf("%s: pure package calls %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestPackageComments(t *testing.T) {
	docs := map[string]int{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, ok := docs[s.pkg]; !ok {
			docs[s.pkg] = 0
		}
		if s.file.Doc != nil {
			docs[s.pkg]++
			text := s.file.Doc.Text()
			if s.file.Name.Name != "main" && !strings.HasPrefix(text, "Package "+s.file.Name.Name+" ") {
				t.Errorf("%s: the package comment begins with %q", s.path, strings.SplitN(text, "\n", 2)[0])
			}
		}
	}
	for pkg, n := range docs {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", pkg, n)
		}
	}
}

func TestFunctionLength(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			from, to := fset.Position(f.Pos()).Line, fset.Position(f.End()).Line
			if lines := to - from + 1; lines > functionMax {
				t.Errorf("%s:%d: function %s has %d lines, the limit is %d", s.path, from, f.Name.Name, lines, functionMax)
			}
		}
		if lines := fset.Position(s.file.FileEnd).Line; lines > fileMax && !s.test {
			t.Errorf("%s has %d lines, the limit is %d", s.path, lines, fileMax)
		}
	}
}

// TestWords keeps words out that would have two meanings, and notes that something is unfinished.
func TestWords(t *testing.T) {
	banned := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	node := regexp.MustCompile(`(?i)\bnodes?\b`)
	for _, s := range sources(t) {
		if s.pkg == "internal/rules" {
			continue
		}
		for _, g := range s.file.Comments {
			for _, c := range g.List {
				if w := banned.FindString(c.Text); w != "" {
					t.Errorf("%s: %s in a comment", fset.Position(c.Pos()), w)
				}
				if node.MatchString(c.Text) && !strings.Contains(c.Text, "yaml.Node") && !strings.Contains(c.Text, "RawNode") {
					t.Errorf("%s: the word node is not used: say process, instance, replica, peer or page", fset.Position(c.Pos()))
				}
			}
		}
	}
}

// TestFilesThroughSys keeps calls of package os for files in the packages that are there for it.
func TestFilesThroughSys(t *testing.T) {
	allowed := []string{"internal/sys/real", "internal/supervisor", "internal/cli", "internal/cli/demo", "internal/config/gen", "internal/lifecycle/gen", "internal/errcode/gen"}
	call := regexp.MustCompile(`^(Open|OpenFile|Create|CreateTemp|WriteFile|ReadFile|Rename|Remove|RemoveAll|Mkdir|MkdirAll|Truncate|ReadDir)$`)
	for _, s := range sources(t) {
		if s.test || slices.Contains(allowed, s.pkg) || strings.HasPrefix(s.pkg, "test") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && call.MatchString(sel.Sel.Name) {
				t.Errorf("%s: os.%s outside of sys/real", fset.Position(n.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

// TestErrorsHaveHints wants a sentence about what to do for every error number that the program uses.
func TestErrorsHaveHints(t *testing.T) {
	text, err := os.ReadFile("../errcode/codes.go")
	if err != nil {
		t.Fatal(err)
	}
	hinted := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) +Code = (\d+)$`).FindAllSubmatch(text, -1) {
		number, err := strconv.ParseUint(string(m[2]), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		hinted[string(m[1])] = errcode.Code(number).Hint() != ""
	}
	made := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || x.Name != "errcode" {
				return true
			}
			if has, isCode := hinted[sel.Sel.Name]; isCode {
				made++
				if !has {
					t.Errorf("%s: errcode.%s has no hint in errcode/codes.txt", fset.Position(n.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	}
	if made < 100 {
		t.Errorf("only %d uses of error numbers found", made)
	}
}

// TestErrorTexts wants the texts of numbered errors in errcode/codes.txt: Newf is for those that say something else.
func TestErrorTexts(t *testing.T) {
	table, err := os.ReadFile("../errcode/codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	verb := regexp.MustCompile(`%[-+# 0-9.]*[a-zA-Z]`)
	texts := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\d+ \w+ "(.*)"$`).FindAllSubmatch(table, -1) {
		texts[verb.ReplaceAllString(string(m[1]), "%")] = true
	}
	found := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Newf" {
				return true
			}
			found++
			if lit, ok := call.Args[1].(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(lit.Value); err == nil && text != "%s" && texts[verb.ReplaceAllString(text, "%")] {
					t.Errorf("%s: %s is in errcode/codes.txt: use errcode.New", fset.Position(n.Pos()), lit.Value)
				}
			}
			return true
		})
	}
	if found == 0 || len(texts) < 100 {
		t.Errorf("%d errors with texts of their own, %d texts in the table", found, len(texts))
	}
}

// TestDepsSorted keeps the list readable.
func TestDepsSorted(t *testing.T) {
	data, err := os.ReadFile(depsFile)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if strings.Count(line, "|") == 2 && !strings.HasPrefix(line, "#") {
			names = append(names, strings.TrimSpace(strings.SplitN(line, "|", 2)[0]))
		}
	}
	if !sort.StringsAreSorted(names) {
		t.Error(fmt.Sprint("packages in deps.txt are not sorted: ", names))
	}
}
