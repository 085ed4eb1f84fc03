package remote

import (
	"html"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// longestTitle bounds what is shown of a page that came instead of an answer.
const longestTitle = 60

// Describe says who answered what, where the answer is not one of the service's:
// host, status, content type, and a page's title, which redact makes fit to be
// printed. Nothing else of the answer is shown.
func (c *Client) Describe(host string, status int, header http.Header, body []byte, redact func(string) string) string {
	text := c.named(host) + " answers " + strconv.Itoa(status)
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case len(body) == 0:
		return text + " with an empty body"
	case err != nil:
		return text
	}
	text += " with " + redact(kind)
	if title := pageTitle(body); strings.Contains(kind, "html") && title != "" {
		if r := []rune(redact(title)); len(r) > longestTitle {
			title = string(r[:longestTitle]) + "..."
		} else {
			title = string(r)
		}
		text += " titled " + strconv.Quote(title)
	}
	return text
}

func pageTitle(body []byte) string {
	m := regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title`).FindSubmatch(body[:min(len(body), 64<<10)])
	if m == nil {
		return ""
	}
	return strings.Join(strings.Fields(html.UnescapeString(string(m[1]))), " ")
}

// from is the option or variable that named a host, "" if none did.
func (c *Client) from(host string) string {
	from := c.From[host]
	if from == nil {
		return ""
	}
	return fault.Messagef("%s", from).Named(c.Origin)
}

// named is a host as errors show it: with the option or variable that named it.
func (c *Client) named(host string) string {
	if from := c.from(host); from != "" {
		return host + " (" + from + ")"
	}
	return host
}
