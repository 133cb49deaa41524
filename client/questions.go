package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/kinetoscope/kinetoscope/web/api"
)

// maxPart bounds one line of an answer: a result is one message of the control plane, in base64.
const maxPart = 512 << 20

// Ask has a question about traces on nodes answered there and calls each for every part of the
// answer, in the order in which they come.
func (c *Client) Ask(ctx context.Context, q api.Question, each func(api.QuestionPart) error) error {
	resp, err := c.do(ctx, http.MethodPost, api.QuestionsPath, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // an incomplete body still explains the error best
		return refusal(http.MethodPost, api.QuestionsPath, resp.StatusCode, data)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxPart)
	for lines.Scan() {
		var p api.QuestionPart
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("%s: the answer is none of this API's: %w", api.QuestionsPath, err)
		}
		switch {
		case p.Error != nil:
			data, err := json.Marshal(p.Error)
			return errors.Join(err, refusal(http.MethodPost, api.QuestionsPath, http.StatusBadRequest, data))
		case p.Done:
			return nil
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: the answer ends early: %w", api.QuestionsPath, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}
