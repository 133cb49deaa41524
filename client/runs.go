package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// Runs returns the server's runs that match a query; docs/http.md has its parameters.
func (c *Client) Runs(ctx context.Context, query url.Values) (*api.RunList, error) {
	path := api.RunsPath
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	list := new(api.RunList)
	return list, c.call(ctx, http.MethodGet, path, nil, list)
}

// LabelRun changes the labels of a run, and returns the changed run.
func (c *Client) LabelRun(ctx context.Context, id string, p catalog.Patch) (*catalog.Item, error) {
	it := new(catalog.Item)
	return it, c.call(ctx, http.MethodPatch, api.RunPath(id), p, it)
}

// DeleteRun deletes a run with all its files.
func (c *Client) DeleteRun(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, api.RunPath(id), nil, new(api.Deleted))
}

// ArchiveRun opens a whole run as a tar archive. The caller closes it.
func (c *Client) ArchiveRun(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.open(ctx, api.RunPath(id)+"/archive")
}

// UploadRun uploads a trace of size bytes as a run of its own.
func (c *Client) UploadRun(ctx context.Context, name string, size int64, trace io.Reader) (*catalog.Item, error) {
	path := api.RunsPath + "?name=" + url.QueryEscape(name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, trace)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", http.MethodPost, path, err)
	}
	if resp.StatusCode != http.StatusCreated {
		return nil, refusal(http.MethodPost, path, resp.StatusCode, data)
	}
	it := new(catalog.Item)
	if err := json.Unmarshal(data, it); err != nil {
		return nil, fmt.Errorf("%s %s: the answer is none of this API's: %w", http.MethodPost, path, err)
	}
	return it, nil
}
