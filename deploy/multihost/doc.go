// Package multihost holds the test of a pipeline whose ranks are on several hosts:
// network namespaces with names and cables of their own, one of which is cut.
package multihost
