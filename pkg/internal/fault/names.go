package fault

import (
	"fmt"
	"strings"
)

// Names lists names in a message, the first eight of many.
func Names(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
