//! Whole reports as people see them.

use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::parse;

fn check(text: &str, want: &str) {
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text), text);
    let got = render_all(&parsed.diagnostics, &sources, Colour::Never);
    assert!(got == want.trim_matches('\n'), "{got}");
}

#[test]
fn all_problems_are_shown_at_once() {
    check(
        r#"[family]
nme = "devbox"
platforms = ["amd64"]
registries = ["docker.io/joakimp"]

[versions]
PI_VERSION = { npm = "pi" }

[image.devbox]
dockerfile = "../Dockerfile"
repository = "devbox"
tags = ["v{vresion}{suffix}"]

[[image.devbox.smoke]]
run = ["pi", "--version"]
stdout = "pi {PI_VERSON}"
"#,
        r#"
error[LW0101]: unknown key `nme`
 --> launchway.toml:2:1
  |
2 | nme = "devbox"
  | ^^^ not a key of [family]
  |
  = help: did you mean `name`?

error[LW0120]: "amd64" is not a platform to build for
 --> launchway.toml:3:14
  |
3 | platforms = ["amd64"]
  |              ^^^^^^^ a platform has the form os/architecture[/variant], for example linux/amd64
  |
  = help: write "linux/amd64"

error[LW0123]: "../Dockerfile" is not a path of the family
  --> launchway.toml:10:14
   |
10 | dockerfile = "../Dockerfile"
   |              ^^^^^^^^^^^^^^^ leaves the folder
   |
   = note: paths are relative to the folder of the family file and stay inside it

error[LW0131]: unknown placeholder `{vresion}`
  --> launchway.toml:12:11
   |
12 | tags = ["v{vresion}{suffix}"]
   |           ^^^^^^^^^ no such placeholder
   |
   = help: did you mean `{version}`?

error[LW0140]: there is no version `PI_VERSON`
  --> launchway.toml:16:14
   |
16 | stdout = "pi {PI_VERSON}"
   |              ^^^^^^^^^^^ not an entry of [versions]
   |
   = help: did you mean `{PI_VERSION}`?
"#,
    );
}

#[test]
fn a_circle_is_shown_link_by_link() {
    check(
        r#"[family]
name = "f"
platforms = ["linux/amd64"]
registries = ["docker.io/joakimp"]

[image.a]
from = "c"
dockerfile = "a/Dockerfile"
repository = "a"

[image.b]
from = "a"
dockerfile = "b/Dockerfile"
repository = "b"

[image.c]
from = "b"
dockerfile = "c/Dockerfile"
repository = "c"

[image.d]
from = "a"
dockerfile = "d/Dockerfile"
repository = "d"
"#,
        r#"
error[LW0111]: images are built from one another in a circle
  --> launchway.toml:7:8
   |
 7 | from = "c"
   |        ^^^ `a` is built from `c`
...
12 | from = "a"
   |        --- `b` is built from `a`
...
17 | from = "b"
   |        --- `c` is built from `b`
   |
   = note: the circle is a → c → b → a
   = help: take one `from` out
"#,
    );
}

#[test]
fn tags_that_collide_are_shown_together() {
    check(
        r#"[family]
name = "f"
platforms = ["linux/amd64"]
registries = ["docker.io/joakimp"]

[image.a]
dockerfile = "a/Dockerfile"
repository = "f"
tags = ["v{version}"]

[image.b]
dockerfile = "b/Dockerfile"
repository = "f"
tags = ["v{version}{suffix}"]
rolling = ["v2.0.0"]
"#,
        r#"
error[LW0137]: `a` and `b` would both publish `f:v1.2.3`
  --> launchway.toml:14:9
   |
 9 | tags = ["v{version}"]
   |         ------------ the first
...
14 | tags = ["v{version}{suffix}"]
   |         ^^^^^^^^^^^^^^^^^^^^ the second
   |
   = note: as filled in for a release 1.2.3
   = help: add `{image}` or another word to one of them, or use different repositories

error[LW0139]: rolling tag `v2.0.0` is the release tag of version 2.0.0
  --> launchway.toml:15:12
   |
 9 | tags = ["v{version}"]
   |         ------------ never to change once it is published
...
15 | rolling = ["v2.0.0"]
   |            ^^^^^^^^ moves with every release
   |
   = help: choose another word for the rolling tag

error[LW0139]: rolling tag `v2.0.0` is the release tag of version 2.0.0
  --> launchway.toml:15:12
   |
14 | tags = ["v{version}{suffix}"]
   |         -------------------- never to change once it is published
15 | rolling = ["v2.0.0"]
   |            ^^^^^^^^ moves with every release
   |
   = help: choose another word for the rolling tag
"#,
    );
}

/// The parser goes on after a syntax error. What the broken spots may have said is not called
/// missing.
#[test]
fn syntax_errors_do_not_hide_other_problems() {
    check(
        r#"[family]
name = 
regstries = ["docker.io/joakimp"]
platforms = ["linux/amd64"]
platforms = []

[image.a
dockerfile = "a/Dockerfile"

[image.b]
from = "a"
dockerfile = "../x"
"#,
        r#"
error[LW0100]: the file is not TOML here
 --> launchway.toml:2:8
  |
2 | name = 
  |        ^ string values must be quoted, expected literal string

error[LW0101]: unknown key `regstries`
 --> launchway.toml:3:1
  |
3 | regstries = ["docker.io/joakimp"]
  | ^^^^^^^^^ not a key of [family]
  |
  = help: did you mean `registries`?

error[LW0100]: the file is not TOML here
 --> launchway.toml:5:1
  |
5 | platforms = []
  | ^^^^^^^^^ duplicate key
  |
  = help: a key stands once in a table, and a table's head once in the file

error[LW0100]: the file is not TOML here
 --> launchway.toml:7:9
  |
7 | [image.a
  |         ^ unclosed table, expected `]`

error[LW0123]: "../x" is not a path of the family
  --> launchway.toml:12:14
   |
12 | dockerfile = "../x"
   |              ^^^^^^ leaves the folder
   |
   = note: paths are relative to the folder of the family file and stay inside it
"#,
    );
}
