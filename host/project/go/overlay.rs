//! Changes to the source of Go's library, made for a build alone: the kit takes over what reaches the network, and runtime and
//! environment can begin again where a snapshot ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Project, ProjectError, wit};

/// A place in the source of Go's library at which something is put in.
struct Takeover {
    package: &'static str,
    file: &'static str,
    /// What stands there.
    stands: &'static str,
    /// What takes its place.
    replacement: &'static str,
    /// The build tag of the kit's files that serve it.
    tag: &'static str,
}

/// A file that a package has besides.
struct Addition {
    package: &'static str,
    source: &'static str,
    /// What the source relies on, each in a file of the package.
    relies_on: &'static [(&'static str, &'static str)],
    tag: &'static str,
}

/// The tag of what a snapshot needs. See the kit's `snapshot_wasip1.go`.
pub(super) const SNAPSHOT: &str = "kiln_snapshot";

/// The name of added files, in their packages.
const ADDED: &str = "kiln_added.go";

const TAKEOVERS: [Takeover; 11] = [
    // Every `http.Transport` sends its requests here: see the kit's `nethttp_wasip1.go`.
    Takeover {
        package: "net/http",
        file: "roundtrip.go",
        stands: "\n\treturn t.roundTrip(req)\n}\n",
        replacement: "
	if req.URL != nil && (req.URL.Scheme == \"http\" || req.URL.Scheme == \"https\") {
		return kilnRoundTrip(t, req)
	}
	return t.roundTrip(req)
}

//go:linkname kilnRoundTrip
func kilnRoundTrip(*Transport, *Request) (*Response, error)
",
        tag: "kiln_nethttp",
    },
    // Every connection is dialled here: see the kit's `conn_wasip1.go`.
    Takeover {
        package: "net",
        file: "dial.go",
        stands: "
func (d *Dialer) DialContext(ctx context.Context, network, address string) (Conn, error) {
",
        replacement: "
var kilnDial func(ctx context.Context, dialer *Dialer, network, address string) (Conn, error)

func (d *Dialer) DialContext(ctx context.Context, network, address string) (Conn, error) {
	if network == \"tcp\" || network == \"tcp4\" || network == \"tcp6\" {
		return kilnDial(ctx, d, network, address)
	}
",
        tag: "kiln_net",
    },
    // A name is left to the host: clients that resolve it before they dial are given it back.
    Takeover {
        package: "net",
        file: "lookup.go",
        stands: "\n\treturn r.lookupHost(ctx, host)\n",
        replacement: "\n\treturn []string{host}, nil\n",
        tag: "kiln_net",
    },
    // The environment is read anew in each attempt.
    Takeover {
        package: "syscall",
        file: "env_unix.go",
        stands: "\nfunc Getenv(key string) (value string, found bool) {\n",
        replacement: "\nfunc Getenv(key string) (value string, found bool) {\n\tkilnLook(key)\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "syscall",
        file: "env_unix.go",
        stands: "\nfunc Setenv(key, value string) error {\n",
        replacement: "\nfunc Setenv(key, value string) error {\n\tkilnLook(key)\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "syscall",
        file: "env_unix.go",
        stands: "\nfunc Unsetenv(key string) error {\n",
        replacement: "\nfunc Unsetenv(key string) error {\n\tkilnLook(key)\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "syscall",
        file: "env_unix.go",
        stands: "\nfunc Clearenv() {\n",
        replacement: "\nfunc Clearenv() {\n\tkilnLook(\"*\")\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "syscall",
        file: "env_unix.go",
        stands: "\nfunc Environ() []string {\n",
        replacement: "\nfunc Environ() []string {\n\tkilnLook(\"*\")\n",
        tag: SNAPSHOT,
    },
    // Whoever draws random numbers may keep them.
    Takeover {
        package: "math/rand",
        file: "rand.go",
        stands: "//go:linkname runtime_rand runtime.rand\n",
        replacement: "//go:linkname runtime_rand runtime.kilnRand\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "math/rand/v2",
        file: "rand.go",
        stands: "//go:linkname runtime_rand runtime.rand\n",
        replacement: "//go:linkname runtime_rand runtime.kilnRand\n",
        tag: SNAPSHOT,
    },
    Takeover {
        package: "hash/maphash",
        file: "maphash.go",
        stands: "//go:linkname runtime_rand runtime.rand\n",
        replacement: "//go:linkname runtime_rand runtime.kilnRand\n",
        tag: SNAPSHOT,
    },
];

const ADDITIONS: [Addition; 2] = [
    Addition {
        package: "runtime",
        source: include_str!("runtime.go.txt"),
        relies_on: &[
            ("rand.go", "\tinit  bool\n"),
            ("rand.go", "\nfunc randinit() {\n"),
            ("rand.go", "\nfunc mrandinit(mp *m) {\n"),
            ("os_wasip1.go", "\nfunc goenvs() {\n"),
        ],
        tag: SNAPSHOT,
    },
    Addition {
        package: "syscall",
        source: include_str!("syscall.go.txt"),
        relies_on: &[
            ("env_unix.go", "\tenv map[string]int\n"),
            ("env_unix.go", "\tenvs []string = runtime_envs()\n"),
        ],
        tag: SNAPSHOT,
    },
];

/// What the compiler is told where the handler's packages are among those that are changed.
pub(super) struct Overlay {
    /// None where nothing is changed.
    pub(super) file: Option<PathBuf>,
    pub(super) tags: BTreeSet<&'static str>,
}

/// Writes the changed sources, and the file that makes the compiler use them. `packages` are those of which the handler is
/// built, each with its folder: of what it does not import nothing is changed.
///
/// With `snapshot` it has what a snapshot needs, if Go is of a version whose source is known.
pub(super) fn write(
    project: &Project,
    packages: &HashMap<&str, &str>,
    snapshot: bool,
) -> Result<Overlay, ProjectError> {
    let work = project.work()?;
    let mut sources = Sources {
        packages,
        files: BTreeMap::new(),
        tags: BTreeSet::new(),
    };
    sources.take_over(|tag| tag != SNAPSHOT)?;
    if snapshot {
        let unchanged = (sources.files.clone(), sources.tags.clone());
        if sources
            .add()
            .and_then(|()| sources.take_over(|tag| tag == SNAPSHOT))
            .is_err()
        {
            (sources.files, sources.tags) = unchanged;
        }
    }
    let mut replaced = serde_json::Map::new();
    for (number, (path, text)) in sources.files.iter().enumerate() {
        // Not named .go: `go test ./...` looks for packages in this folder, too.
        let changed = work.join(format!("overlay-{number}.go.txt"));
        wit::write(&changed, text.as_bytes())?;
        replaced.insert(path.to_string_lossy().into(), changed.to_string_lossy().into());
    }
    let file = work.join("overlay.json");
    wit::write(&file, serde_json::json!({ "Replace": replaced }).to_string().as_bytes())?;
    Ok(Overlay {
        file: (!replaced.is_empty()).then_some(file),
        tags: sources.tags,
    })
}

/// Files of Go's library as they are to be.
struct Sources<'a> {
    packages: &'a HashMap<&'a str, &'a str>,
    files: BTreeMap<PathBuf, String>,
    tags: BTreeSet<&'static str>,
}

impl Sources<'_> {
    fn take_over(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), ProjectError> {
        for takeover in TAKEOVERS.iter().filter(|takeover| wanted(takeover.tag)) {
            let Some(folder) = self.packages.get(takeover.package) else {
                continue;
            };
            let path = Path::new(folder).join(takeover.file);
            let source = match self.files.remove(&path) {
                Some(changed) => changed,
                None => fs::read_to_string(&path).map_err(ProjectError::file(&path))?,
            };
            known(&path, &source, takeover.stands)?;
            self.files
                .insert(path, source.replacen(takeover.stands, takeover.replacement, 1));
            self.tags.insert(takeover.tag);
        }
        Ok(())
    }

    fn add(&mut self) -> Result<(), ProjectError> {
        for addition in &ADDITIONS {
            let Some(folder) = self.packages.get(addition.package) else {
                continue;
            };
            let folder = Path::new(folder);
            for (file, text) in addition.relies_on {
                let path = folder.join(file);
                let source = fs::read_to_string(&path).map_err(ProjectError::file(&path))?;
                known(&path, &source, text)?;
            }
            self.files.insert(folder.join(ADDED), addition.source.to_owned());
            self.tags.insert(addition.tag);
        }
        Ok(())
    }
}

fn known(path: &Path, source: &str, text: &str) -> Result<(), ProjectError> {
    if source.contains(text) {
        return Ok(());
    }
    let unknown = "is of a version of Go that Kiln does not know";
    Err(ProjectError::description(path, unknown))
}
