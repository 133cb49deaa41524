// Package service holds what runs Kinetoscope as a service, in deploy/systemd, container and
// kubernetes, to the program's flags and to each other.
package service
