//! What has to be right in the environment before GTK and WebKit look at it.

/// Why no window can open here, if that is clear beforehand.
pub fn no_display() -> Option<&'static str> {
    let is_set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    if cfg!(target_os = "linux") && !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return Some("There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)");
    }
    None
}

#[cfg(not(target_os = "linux"))]
pub fn prepare() {}

/// Called first in `main`, while this is the only thread.
#[cfg(target_os = "linux")]
pub fn prepare() {
    let read = |name: &str| std::env::var(name).ok();
    let automated = read("TAURI_WEBVIEW_AUTOMATION").is_some();
    for (name, value) in changes(read, has_render_node(), automated) {
        set(name, value);
    }
}

#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "there is no safe way, and a child process with another environment would be a second window to the system"
)]
fn set(name: &str, value: &str) {
    // SAFETY: no other thread exists yet: `prepare` is the first thing that runs after the arguments are parsed; the async
    // runtime, GTK and the log come later.
    unsafe { std::env::set_var(name, value) }
}

/// Two traps of WebKitGTK:
/// - under the locale `C` its `navigator.language` is "C", which no `Intl` accepts, so pages die at their first number;
/// - without a GPU its DMABUF renderer works in software two to four times slower than shared memory. Not under
///   WebDriver, whose screenshots hang without that renderer.
#[cfg(target_os = "linux")]
fn changes(
    read: impl Fn(&str) -> Option<String>,
    has_render_node: bool,
    automated: bool,
) -> Vec<(&'static str, &'static str)> {
    const LANGUAGE: &str = "en_US.UTF-8";
    const RENDERER: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
    let has_none = |value: &str| value == "C" || value == "POSIX" || value.starts_with("C.");
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let mut changes: Vec<_> = names
        .into_iter()
        .filter(|name| read(name).is_some_and(|value| has_none(&value)))
        .map(|name| (name, LANGUAGE))
        .collect();
    if names
        .iter()
        .all(|name| read(name).is_none_or(|v| v.is_empty()))
    {
        changes.push(("LANG", LANGUAGE));
    }
    if !has_render_node && !automated && read(RENDERER).is_none() {
        changes.push((RENDERER, "1"));
    }
    changes
}

#[cfg(target_os = "linux")]
fn has_render_node() -> bool {
    std::fs::read_dir("/dev/dri").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::changes;

    fn with(
        pairs: &[(&str, &str)],
        gpu: bool,
        automated: bool,
    ) -> Vec<(&'static str, &'static str)> {
        let read = |name: &str| {
            let found = pairs.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).to_owned())
        };
        changes(read, gpu, automated)
    }

    #[test]
    fn a_language_is_left_alone_and_the_lack_of_one_is_mended() {
        assert!(with(&[("LANG", "pt_PT.UTF-8")], true, false).is_empty());
        for none in ["C", "POSIX", "C.UTF-8"] {
            assert_eq!(
                with(&[("LANG", none)], true, false),
                [("LANG", "en_US.UTF-8")]
            );
        }
        assert_eq!(with(&[], true, false), [("LANG", "en_US.UTF-8")]);
        let both = with(&[("LANG", "pt_PT.UTF-8"), ("LC_ALL", "C")], true, false);
        assert_eq!(both, [("LC_ALL", "en_US.UTF-8")]);
    }

    #[test]
    fn the_renderer_is_chosen_only_without_a_gpu_and_never_for_a_test() {
        let lang = ("LANG", "de_DE.UTF-8");
        let renderer = ("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
        assert_eq!(with(&[lang], false, false), [renderer]);
        assert!(with(&[lang], false, true).is_empty());
        assert!(
            with(
                &[lang, ("WEBKIT_DISABLE_DMABUF_RENDERER", "0")],
                false,
                false
            )
            .is_empty()
        );
    }
}
