// Package scrape reads what inference servers tell Prometheus of themselves, at their
// /metrics, and judges conditions on it: a time to first token beyond a bound, a queue that
// grows, a cache that is full.
package scrape
