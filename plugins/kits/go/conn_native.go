//go:build !wasip1

package kiln

import (
	"crypto/tls"
	"net"
)

// StartTLS has TLS spoken over a connection from here on, and verifies that the server's certificate is for this name, as
// after SMTP's STARTTLS or PostgreSQL's SSLRequest. What it returns takes the connection's place.
func StartTLS(connection net.Conn, serverName string) (net.Conn, error) {
	secured := tls.Client(connection, &tls.Config{ServerName: serverName})
	if err := secured.Handshake(); err != nil {
		return nil, err
	}
	return secured, nil
}
