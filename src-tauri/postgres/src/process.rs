//! Looking at processes: is that one a server on our folder, or a stranger that got an old number?
//!
//! Linux and macOS answer exactly: a server and all its workers have the data folder as their working directory. Windows
//! does not say, so there a server counts as ours when it answers with our password and names our folder.

use std::path::Path;

pub(crate) use imp::*;

pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    disk(path).map(|(free, _)| free)
}

/// Free space for an ordinary account on the file system of `path`, and its size, if the system says.
#[cfg(unix)]
pub(crate) fn disk(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string that outlives the call, and `stat` is writable memory of the right type.
    let status = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if status != 0 {
        return None;
    }
    // SAFETY: statvfs returned 0, so it filled `stat`, a plain structure of integers.
    let stat = unsafe { stat.assume_init() };
    // The integers are of different widths on different systems.
    #[allow(clippy::unnecessary_cast)]
    let bytes = |blocks| (blocks as u64).saturating_mul(stat.f_frsize as u64);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

#[cfg(not(unix))]
pub(crate) fn disk(_path: &Path) -> Option<(u64, u64)> {
    None
}

/// Sends `signal` to one process. The caller has just proved whose it is; a number can be reused only after its process
/// was waited for, which leaves microseconds for a mistake here and none for a child of our own.
#[cfg(unix)]
pub(crate) fn signal(pid: i32, signal: libc::c_int) -> std::io::Result<()> {
    assert!(
        pid > 1,
        "0, 1 and negative numbers address groups or the system, never one server"
    );
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs;
    use std::io;
    use std::path::Path;

    /// Whether `pid` is a `postgres` that works in the folder `data` (a canonical path).
    pub(crate) fn serves(pid: i32, data: &Path) -> bool {
        let proc = format!("/proc/{pid}");
        match fs::read_link(format!("{proc}/cwd")) {
            // A zombie has neither folder nor program, so it does not serve.
            Ok(folder) => folder == data && is_postgres(&proc),
            // Root in a container may lack the right to see other accounts' folders; the command line is open to all,
            // and only the server itself, not its workers, has the folder there.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                comm(&proc).starts_with("postgres")
                    && fs::read(format!("{proc}/cmdline")).is_ok_and(|line| names(&line, data))
            }
            Err(_) => false,
        }
    }

    /// Every `postgres` that works in `data`: a server, or what one left behind when it was killed.
    pub(crate) fn servers_in(data: &Path) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| serves(*pid, data)).collect()
    }

    pub(crate) fn parent(pid: i32) -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; what follows the last one is: state, parent, ...
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    }

    fn is_postgres(proc: &str) -> bool {
        match fs::read_link(format!("{proc}/exe")) {
            // After an update of the app the link ends in " (deleted)".
            Ok(program) => program
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres")),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                comm(proc).starts_with("postgres")
            }
            Err(_) => false,
        }
    }

    fn comm(proc: &str) -> String {
        fs::read_to_string(format!("{proc}/comm")).unwrap_or_default()
    }

    /// Whether a command line holds `-D <data>`.
    fn names(cmdline: &[u8], data: &Path) -> bool {
        let arguments: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
        arguments
            .windows(2)
            .any(|pair| pair[0] == b"-D" && pair[1] == data.as_os_str().as_encoded_bytes())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_command_line_names_its_data_folder_exactly() {
            let line = b"/usr/bin/postgres\0-D\0/srv/a b/data\0-c\0port=5432\0";
            assert!(names(line, Path::new("/srv/a b/data")));
            assert!(!names(line, Path::new("/srv/a b")));
            assert!(!names(
                b"postgres: bizing-desk: walwriter",
                Path::new("/srv/a b/data")
            ));
        }

        #[test]
        fn this_test_is_no_server_and_has_a_parent() {
            let pid = std::process::id() as i32;
            assert!(!serves(pid, &std::env::current_dir().unwrap()));
            assert_eq!(
                parent(pid),
                Some(std::os::unix::process::parent_id() as i32)
            );
        }
    }
}

/// Written against the documentation; not run.
#[cfg(target_os = "macos")]
mod imp {
    use std::ffi::CStr;
    use std::path::Path;

    pub(crate) fn serves(pid: i32, data: &Path) -> bool {
        let named = program(pid).is_some_and(|path| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("postgres"))
        });
        named && working_folder(pid).is_some_and(|folder| Path::new(&folder) == data)
    }

    /// Not listed here: a new server itself refuses to start while workers of an old one use its shared memory, and the
    /// start is tried again then.
    pub(crate) fn servers_in(_data: &Path) -> Vec<i32> {
        Vec::new()
    }

    /// There is no death signal whose arrival would have to be waited for.
    pub(crate) fn parent(_pid: i32) -> Option<i32> {
        None
    }

    fn program(pid: i32) -> Option<String> {
        let mut buffer = vec![0u8; libc::PROC_PIDPATHINFO_MAXSIZE as usize];
        // SAFETY: the buffer is writable and as long as we say; the call writes no more than that.
        let length =
            unsafe { libc::proc_pidpath(pid, buffer.as_mut_ptr().cast(), buffer.len() as u32) };
        buffer.truncate(usize::try_from(length).ok().filter(|length| *length > 0)?);
        String::from_utf8(buffer).ok()
    }

    fn working_folder(pid: i32) -> Option<String> {
        let mut info = std::mem::MaybeUninit::<libc::proc_vnodepathinfo>::zeroed();
        let size = size_of::<libc::proc_vnodepathinfo>() as libc::c_int;
        // SAFETY: `info` is writable memory of `size` bytes; the call writes no more than that.
        let written = unsafe {
            libc::proc_pidinfo(
                pid,
                libc::PROC_PIDVNODEPATHINFO,
                0,
                info.as_mut_ptr().cast(),
                size,
            )
        };
        if written != size {
            return None;
        }
        // SAFETY: the call filled all of it; every bit pattern is valid for these integers and arrays.
        let info = unsafe { info.assume_init() };
        let path = info.pvi_cdir.vip_path.as_ptr().cast();
        // SAFETY: the kernel ends the path with a zero within the array, which lives until the end of this function.
        unsafe { CStr::from_ptr(path) }
            .to_str()
            .ok()
            .map(str::to_owned)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod imp {
    use std::path::Path;

    /// Unknown here; see the survey, which asks the server instead.
    pub(crate) fn serves(_pid: i32, _data: &Path) -> bool {
        false
    }

    pub(crate) fn servers_in(_data: &Path) -> Vec<i32> {
        Vec::new()
    }

    pub(crate) fn parent(_pid: i32) -> Option<i32> {
        None
    }
}
