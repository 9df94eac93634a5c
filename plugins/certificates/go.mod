module handlers/certificates

go 1.24
