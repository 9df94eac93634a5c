// Command conformance-go-tcp opens connections as tests/suite/connections.rs asks it to.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"

	"handlers/conformance-go-tcp/kiln"
)

func main() { kiln.Handle(connect) }

// asked is what a payload may say.
type asked struct {
	Do, Client, Host, Name, Text, Key, Table, To string
	Port, Repeat, N, Rows                        int
	TimeoutMS                                    int64 `json:"timeout_ms"`
}

func (a *asked) address() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// dialled is a connection that has as much time as was asked for.
func (a *asked) dialled(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", a.address())
	if err == nil && a.TimeoutMS > 0 {
		err = connection.SetDeadline(time.Now().Add(time.Duration(a.TimeoutMS) * time.Millisecond))
	}
	return connection, err
}

func connect(ctx context.Context, _ *kiln.Job, asked asked) (any, error) {
	switch asked.Do {
	case "greet":
		return greet(ctx, &asked)
	case "upload":
		return upload(ctx, &asked)
	case "upgrade":
		return upgrade(ctx, &asked)
	case "several":
		return several(ctx, &asked)
	case "interrupted":
		return interrupted(ctx, &asked)
	case "sql":
		return query(ctx, &asked)
	case "import":
		return importRows(ctx, &asked)
	case "redis":
		return withRedis(ctx, &asked)
	case "mail":
		return mail(&asked)
	}
	return nil, kiln.Permanentf("unknown: %s", asked.Do)
}

// greet hears what the server says first, and answers it.
func greet(ctx context.Context, asked *asked) (any, error) {
	connection, err := asked.dialled(ctx)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	lines := bufio.NewReader(connection)
	greeting, err := lines.ReadString('\n')
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(connection, asked.Text)
	answer, err := lines.ReadString('\n')
	return map[string]string{"greeting": strings.TrimSpace(greeting), "answer": strings.TrimSpace(answer)}, err
}

// upload sends everything, and reads to the end what comes back.
func upload(ctx context.Context, asked *asked) (any, error) {
	connection, err := asked.dialled(ctx)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, strings.Repeat(asked.Text, asked.Repeat)); err != nil {
		return nil, err
	}
	if err := connection.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(connection)
	sum := 0
	for _, char := range text {
		sum += int(char)
	}
	return map[string]int{"bytes": len(text), "sum": sum}, err
}

// upgrade goes on with TLS once the server consents.
func upgrade(ctx context.Context, asked *asked) (any, error) {
	connection, err := asked.dialled(ctx)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	fmt.Fprintln(connection, "STARTTLS")
	consent := make([]byte, len("go on\n"))
	if _, err := io.ReadFull(connection, consent); err != nil {
		return nil, err
	}
	secured, err := kiln.StartTLS(connection, asked.Name)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(secured, asked.Text)
	answer, err := bufio.NewReader(secured).ReadString('\n')
	return map[string]string{"answer": strings.TrimSpace(answer)}, err
}

// several has connections under way at once, while another goroutine sleeps.
func several(ctx context.Context, asked *asked) (any, error) {
	var group sync.WaitGroup
	answers := make([]any, asked.N)
	for at := range answers {
		group.Go(func() {
			time.Sleep(time.Duration(at) * time.Millisecond)
			answer, err := greet(ctx, asked)
			if err != nil {
				answer = err.Error()
			}
			answers[at] = answer
		})
	}
	group.Wait()
	return answers, nil
}

// interrupted ends reads that have begun: by a deadline that is set meanwhile, and by closing. A deadline that was replaced
// as it ran out ends none, and time that is over before a connection is dialled makes none.
func interrupted(ctx context.Context, asked *asked) (any, error) {
	late := net.Dialer{Deadline: time.Now().Add(-time.Second)}
	_, undialled := late.DialContext(ctx, "tcp", asked.address())
	connection, err := asked.dialled(ctx)
	if err != nil {
		return nil, err
	}
	connection.SetReadDeadline(time.Now().Add(time.Millisecond))
	for began := time.Now(); time.Since(began) < 5*time.Millisecond; {
		// No other goroutine has its turn meanwhile.
	}
	connection.SetReadDeadline(time.Now().Add(time.Minute))
	_, replaced := connection.Read(make([]byte, 1))
	read := func(interrupt func()) error {
		time.AfterFunc(5*time.Millisecond, interrupt)
		_, err := connection.Read(make([]byte, 1))
		return err
	}
	meanwhile := read(func() { connection.SetReadDeadline(time.Now()) })
	connection.SetReadDeadline(time.Time{})
	closed := read(func() { connection.Close() })
	timedOut := func(err error) bool {
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	return map[string]bool{"undialled": timedOut(undialled), "replaced": replaced == nil,
		"meanwhile": timedOut(meanwhile), "closed": errors.Is(closed, net.ErrClosed)}, nil
}

func (a *asked) database(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=kiln password=tea dbname=postgres sslmode=disable", a.Host, a.Port))
}

// query asks with parameters, and meets an error that leaves the connection usable.
func query(ctx context.Context, asked *asked) (any, error) {
	database, err := asked.database(ctx)
	if err != nil {
		return nil, err
	}
	defer database.Close(ctx)
	var n int
	var text string
	var nothing *string
	row := database.QueryRow(ctx, "SELECT $1::int + 1, $2::text, NULL::text", asked.N, asked.Text)
	if err := row.Scan(&n, &text, &nothing); err != nil {
		return nil, err
	}
	_, err = database.Exec(ctx, "SELECT * FROM nowhere")
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		return nil, err
	}
	return map[string]any{"rows": [][]any{{n, text, nothing}}, "code": told.Code}, nil
}

// importRows puts rows into a table in one transaction.
func importRows(ctx context.Context, asked *asked) (any, error) {
	database, err := asked.database(ctx)
	if err != nil {
		return nil, err
	}
	defer database.Close(ctx)
	transaction, err := database.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer transaction.Rollback(ctx)
	if _, err := transaction.Exec(ctx, "CREATE TABLE "+asked.Table+" (n int PRIMARY KEY, name text)"); err != nil {
		return nil, err
	}
	rows := pgx.CopyFromSlice(asked.Rows, func(n int) ([]any, error) { return []any{n, fmt.Sprintf("row %d", n)}, nil })
	if _, err := transaction.CopyFrom(ctx, pgx.Identifier{asked.Table}, []string{"n", "name"}, rows); err != nil {
		return nil, err
	}
	if err := transaction.Commit(ctx); err != nil {
		return nil, err
	}
	var sums [2]int
	row := database.QueryRow(ctx, "SELECT count(*), sum(n) FROM "+asked.Table)
	return map[string]any{"sums": &sums}, row.Scan(&sums[0], &sums[1])
}

func withRedis(ctx context.Context, asked *asked) (any, error) {
	client, err := redis.DialContext(ctx, "tcp", asked.address())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if _, err := client.Do("SET", asked.Key, asked.Text); err != nil {
		return nil, err
	}
	for range asked.N {
		client.Send("INCR", asked.Key+":n")
	}
	counted, err := redis.Ints(client.Do(""))
	if err != nil {
		return nil, err
	}
	text, err := redis.String(client.Do("GET", asked.Key))
	return map[string]any{"text": text, "counted": counted[len(counted)-1]}, err
}

func mail(asked *asked) (any, error) {
	text := fmt.Sprintf("To: %s\r\nSubject: %s\r\n\r\n%s\r\n", asked.To, asked.Text, asked.Text)
	err := smtp.SendMail(asked.address(), nil, "shop@example.com", []string{asked.To}, []byte(text))
	return map[string]any{"refused": map[string]any{}}, err
}
