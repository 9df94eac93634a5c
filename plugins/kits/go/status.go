//go:build !wasip1 || kiln_nethttp

package kiln

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bytes of an answer that an error tells.
const maxTold = 200

// CheckStatus is nil for an answer of success, and else the error that a handler does best to return: 408, 425, 429 and
// all from 500 on have the job tried again, 429 and 503 not before the time that Retry-After names. The rest is
// permanent. The error tells the beginning of the answer's body.
func CheckStatus(resp *http.Response) error {
	if resp.StatusCode < 300 {
		return nil
	}
	err := fmt.Errorf("answered %s", resp.Status)
	if resp.Request != nil {
		// The rest of the URL is not told: path or query often are the secret.
		err = fmt.Errorf("%s %s://%s %w", resp.Request.Method, resp.Request.URL.Scheme, resp.Request.URL.Host, err)
	}
	if body, _ := io.ReadAll(io.LimitReader(resp.Body, maxTold)); len(body) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(body)), " "))
	}
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		if wait, said := retryAfterHeader(resp.Header.Get("Retry-After"), time.Now()); said {
			return RetryAfter(wait, err)
		}
		return err
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return err
	}
	return Permanent(err)
}

// retryAfterHeader is the time from now, from either form of the header: seconds, or a date. The plugin's retry policy
// bounds it.
func retryAfterHeader(value string, now time.Time) (wait time.Duration, said bool) {
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(math.MaxInt64/time.Second))) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(date.Sub(now), 0), true
}
