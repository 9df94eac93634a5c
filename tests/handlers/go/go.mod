module handlers/conformance-go

go 1.24
