// Package chaos breaks the product on purpose and checks its promises: the fault × point
// table, run on real servers, ranks, files and disks. A seed chooses the victims, so that a
// run can be repeated; what depends on time is not repeated exactly.
package chaos
