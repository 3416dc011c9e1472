#!/usr/bin/env bash
# Sees to it that this computer has what a build needs, and installs what is missing where apt is the package manager.
#   .ci/setup.sh serve     the desk without a window: a C linker and PostgreSQL
#   .ci/setup.sh window    + the webview's development files
#   .ci/setup.sh test      + what the tests run: browser, virtual display, WebDriver, Python
#   .ci/setup.sh lint      + the shell's linter
# Each need is looked for itself and not by its package's name, so a PostgreSQL from elsewhere counts, nothing that is
# there is installed again, and there is no memory of an earlier run that could be wrong. A run that finds all takes 0.1 s.
set -euo pipefail
cd "$(dirname "$0")/.."

goal=${1:-window}
oldest_postgres=15                 # the oldest major that the migrations run on
oldest_node=20.19                  # what the UI's build tool asks for
oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1)
system=$(uname -s)

have() { command -v "$1" >/dev/null 2>&1; }
at_least() { # WANTED FOUND
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]
}
stop() {
  printf '\n%s\n' "$@" >&2
  exit 1
}

# ---------------------------------------------------------------------------------------------------- what is looked for

links_c() { have cc && printf '#include <stdio.h>\n' | cc -E - >/dev/null 2>&1; }
has_webview() { have pkg-config && pkg-config --exists webkit2gtk-4.1; }
# Loaded while the desk runs, when it shows its tray icon; so the linker can't miss it and a person would.
has_tray() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep 'lib\(ayatana-\)\{0,1\}appindicator3\.so\.1' >/dev/null; }
has_postgres() {
  local bin version
  for bin in "${BIZING_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin \
    /usr/local/opt/postgresql@*/bin /usr/bin /usr/local/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    if [ ! -x "$bin/postgres" ] || [ ! -x "$bin/initdb" ]; then continue; fi
    version=$("$bin/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "${version:-0}" -ge "$oldest_postgres" ] && return 0
  done
  return 1
}
has_webdriver() { have WebKitWebDriver; }
has_display() { have Xvfb; }
has_bus() { have dbus-run-session; }
# Without it GTK waits for an accessibility bus that never comes, and the tests ask elements for their computed role.
has_accessibility() { [ -e /usr/libexec/at-spi-bus-launcher ] || [ -e /usr/lib/at-spi2-core/at-spi-bus-launcher ] || [ -e /usr/lib/at-spi-bus-launcher ]; }
has_browser() { [ -n "$(.ci/browser)" ]; }
# The window brings its own letters; signs that it does not bring must have some font, and always the same one.
has_fonts() { [ -n "$(find /usr/share/fonts -name 'DejaVuSans.ttf' -print -quit 2>/dev/null)" ]; }
has_python() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_shellcheck() { have shellcheck; }

# check          apt                        dnf                         pacman                brew
needs_serve='
links_c          gcc,libc6-dev              gcc,glibc-devel             base-devel            -
has_postgres     postgresql                 postgresql-server,postgresql-contrib postgresql   postgresql@17
'
needs_window='
has_webview      pkg-config,libwebkit2gtk-4.1-dev pkgconf,webkit2gtk4.1-devel pkgconf,webkit2gtk-4.1 -
has_tray         libayatana-appindicator3-1 libayatana-appindicator-gtk3 libayatana-appindicator      -
'
needs_test='
has_webdriver    webkit2gtk-driver          /usr/bin/WebKitWebDriver    webkit2gtk-4.1        -
has_display      xvfb                       xorg-x11-server-Xvfb        xorg-server-xvfb      -
has_bus          dbus                       dbus-daemon                 dbus                  -
has_accessibility at-spi2-core,dbus-x11     at-spi2-core                at-spi2-core          -
has_browser      chromium                   chromium                    chromium              -
has_fonts        fonts-dejavu-core          dejavu-sans-fonts           ttf-dejavu            -
has_python       python3,python3-venv       python3                     python                python
'
needs_lint='
has_shellcheck   shellcheck                 ShellCheck                  shellcheck            shellcheck
'

case $goal in
  serve) needs=$needs_serve ;;
  window) needs=$needs_serve$needs_window ;;
  test) needs=$needs_serve$needs_window$needs_test ;;
  lint) needs=$needs_serve$needs_window$needs_test$needs_lint ;;
  *) stop "use: .ci/setup.sh serve|window|test|lint" ;;
esac

missing() { # COLUMN -> the packages of that column whose need is not met, one a line
  local check apt dnf pacman brew
  while read -r check apt dnf pacman brew; do
    [ -n "$check" ] || continue
    case $system:$check in
      # The webview and its tray are part of the system there.
      Darwin:has_webview | Darwin:has_tray | Darwin:has_webdriver | Darwin:has_display | Darwin:has_bus | Darwin:has_accessibility | Darwin:has_fonts) continue ;;
    esac
    "$check" || case $1 in
      check) echo "$check" ;; apt) echo "$apt" ;; dnf) echo "$dnf" ;; pacman) echo "$pacman" ;; brew) echo "$brew" ;;
    esac
  done <<<"$needs" | tr , '\n' | grep -v '^-$' || true
}

# -------------------------------------------------------------------------------------------------------------- toolchains

toolchains() {
  local found
  have cargo || stop "Rust is missing. Install it with rustup (https://rustup.rs), then run this again."
  found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
  at_least "$oldest_rust" "$found" ||
    stop "Rust $found is too old: $oldest_rust is the least. With rustup: rustup update stable"
  if ! have node || ! have npm; then
    stop "Node.js $oldest_node or newer with npm is missing. Install it (https://nodejs.org), then run this again."
  fi
  found=$(node --version | tr -d v)
  at_least "$oldest_node" "$found" || stop "Node.js $found is too old: $oldest_node is the least (https://nodejs.org)."
  if [ "$goal" = lint ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    stop "Rust's formatter and linter are missing. With rustup: rustup component add rustfmt clippy"
  fi
}

# --------------------------------------------------------------------------------------------------------------------- apt

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@" # nobody is there to type a password
  fi
}
# What apt and the packages' scripts say fills pages and matters only when they fail.
apt() {
  mkdir -p .cache
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -qq \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >.cache/apt.log 2>&1 || {
    tail -n 40 .cache/apt.log >&2
    stop "apt-get $* failed; what it said is above."
  }
}

# Debian's package makes a server of its own on port 5432 and starts it at every boot. The desk brings its own, so the
# package is told not to; what the file said before stands there again afterwards, for whoever installs a server later.
conf=/etc/postgresql-common/createcluster.conf
install_postgres() {
  local major
  major=$(apt-cache policy postgresql | sed -n 's/ *Candidate: \([0-9]*\).*/\1/p')
  [ "${major:-0}" -ge "$oldest_postgres" ] ||
    stop "This system's PostgreSQL is ${major:-none}; the desk needs $oldest_postgres or newer. PostgreSQL's own packages for it:" \
      "  sudo apt-get install postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh" \
      "  sudo apt-get install postgresql-17" "Then run this again."
  apt install --no-install-recommends postgresql-common
  as_root cp -p "$conf" "$conf.before-bizing"
  trap 'as_root mv "$conf.before-bizing" "$conf"' EXIT
  as_root sh -c "echo 'create_main_cluster = false' >> $conf"
  apt install --no-install-recommends postgresql
  as_root mv "$conf.before-bizing" "$conf"
  trap - EXIT
}

with_apt() {
  local list
  list=$(missing apt | tr '\n' ' ')
  [ -n "${list// /}" ] || return 0
  echo "Installing with apt (the first time this takes minutes): $list"
  if [ "$(id -u)" != 0 ]; then
    have sudo || stop "Not root, and sudo is missing. As root run: apt-get install --no-install-recommends $list"
    [ -t 0 ] || sudo -n true 2>/dev/null || stop "sudo asks for a password and nobody is there to type it. As root run: apt-get install --no-install-recommends $list"
  fi
  apt update
  case " $list " in
    *" postgresql "*)
      install_postgres
      list=$(printf '%s' "$list" | tr ' ' '\n' | grep -vx postgresql | tr '\n' ' ' || true)
      ;;
  esac
  case " $list " in
    *" chromium "*)
      # Ubuntu has its browser as a snap, which cannot be driven; the test runner's own is installed with the UI's packages.
      if ! apt-cache policy chromium | grep 'Candidate: [0-9]' >/dev/null; then
        list=$(printf '%s' "$list" | tr ' ' '\n' | grep -vx chromium | tr '\n' ' ' || true)
        mkdir -p .cache && touch .cache/wants-browser
      fi
      ;;
  esac
  # shellcheck disable=SC2086 # one word per package
  [ -z "${list// /}" ] || apt install --no-install-recommends $list
  [ ! -e .cache/wants-browser ] || return 0
  list=$(missing check | tr '\n' ' ')
  [ -z "${list// /}" ] || stop "apt installed everything it was asked for, and this is still not met: $list"
}

# ------------------------------------------------------------------------------------------------------------ elsewhere

tell() { # MANAGER COMMAND
  local list
  list=$(missing "$1" | tr '\n' ' ')
  [ -n "${list// /}" ] || return 0
  stop "Missing on this computer. Install it, then run this again:" "  $2 $list"
}

toolchains
case $system in
  Darwin) tell brew "brew install" ;;
  MINGW* | MSYS* | CYGWIN*)
    stop "make does not set up Windows. Install these, then build with cargo:" \
      "  Visual Studio Build Tools with \"Desktop development with C++\"" \
      "  WebView2 (part of Windows 11)" \
      "  PostgreSQL $oldest_postgres or newer: winget install PostgreSQL.PostgreSQL.17" \
      "  Node.js $oldest_node or newer: winget install OpenJS.NodeJS.LTS" \
      "Then: npm --prefix ui ci && npm --prefix ui run build && cargo run --features custom-protocol"
    ;;
  *)
    if have apt-get && have dpkg-query; then
      with_apt
    elif have dnf; then
      tell dnf "sudo dnf install"
    elif have pacman; then
      tell pacman "sudo pacman -S --needed"
    else
      tell apt "(this system's package manager is not known here: these are Debian's names)"
    fi
    ;;
esac
