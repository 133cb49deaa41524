// Package web is the HTTP side of an open pipeline: the OpenAI API, the
// profile endpoints, sessions and their artifacts, health, metrics and a
// status page. It is a shell round [omni.API]; package web/openai holds the
// wire format. docs/http.md documents every endpoint.
//
// # Concurrency
//
// Each request runs in its connection's goroutine and pulls the outputs of
// its own Generate iterator, so a client that reads slowly holds back only its
// own request, and for no longer than StallTimeout. The server starts one
// goroutine more, the stop of a session, which outlives the client that asked
// for it; Close and Serve wait for it.
//
// # Trust
//
// There are no accounts; Config.APIKeys are shared by all who may use the
// server, and a browser shows one once to get a cookie. The server binds to
// the loopback address unless told otherwise, and then answers only requests
// whose Host names that address, so that a web page cannot reach it by
// rebinding a name; a browser's request from another origin is refused for
// every method that changes something, and has no use of the cookie in any.
package web
