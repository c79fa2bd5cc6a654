// Package expr reads and evaluates scalar expressions of SQL as Tarantool 2.6 does in check constraints. Pure.
//
// Parse makes a tree of a text, Expr.Bind finds its fields and functions and does what needs no row, Program.Check tells
// whether a row passes. What looks odd here is how version 2.6 behaves: the tests beside this package and in
// test/differential compare with that program. Where it crashes, or answers nonsense, this package refuses the expression.
//
// Texts and rows are foreign bytes: the depth of a tree and the size of every value are bounded.
//
// What expr does not know: statements, spaces, and when a constraint is checked.
package expr
