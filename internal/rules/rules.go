// Package rules holds, as tests, the rules that the source keeps: import directions, purity, package comments, function
// length, words. It has no code of its own; the list of allowed imports is internal/deps.txt.
package rules
