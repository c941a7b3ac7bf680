//! The build script of `dpdk-sys`: compiles the C shim against the installed libdpdk and binds it.
//!
//! What is missing is said in one sentence that names the Debian package, and fails the build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, panic};

fn main() {
    for changed in ["../../build.rs", "shim.c", "shim.h"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    for changed in ["PKG_CONFIG", "PKG_CONFIG_PATH", "CC", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={changed}");
    }
    if let Err(sentence) = build() {
        println!("cargo::error={sentence}");
    }
}

fn build() -> Result<(), String> {
    let cflags = pkg_config("--cflags")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    compile(&cflags)?;
    bind(&cflags, &out)?;
    link(&pkg_config("--libs")?);
    // A libdpdk that was upgraded brings another layout.
    if let Some(dir) = pkg_config("--variable=includedir")?.first() {
        println!("cargo::rerun-if-changed={dir}/rte_version.h");
    }
    Ok(())
}

/// Runs pkg-config itself: the flags that are part of libdpdk's ABI (`-include rte_config.h`, `-march=…`) must all
/// arrive, and no other.
fn pkg_config(question: &str) -> Result<Vec<String>, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let answer = Command::new(&program)
        .args([question, "libdpdk"])
        .output()
        .map_err(|_| format!("{program} was not found: install the Debian package pkgconf"))?;
    if !answer.status.success() {
        return Err("libdpdk was not found: install the Debian package libdpdk-dev".into());
    }
    let answer = String::from_utf8_lossy(&answer.stdout);
    Ok(answer.split_whitespace().map(String::from).collect())
}

fn compile(cflags: &[String]) -> Result<(), String> {
    let mut build = cc::Build::new();
    build
        .file("shim.c")
        .flag("-std=gnu11")
        .cargo_warnings(false);
    for flag in cflags {
        build.flag(flag);
    }
    build
        .try_get_compiler()
        .map_err(|_| no_compiler())
        .and_then(|_| {
            build
                .try_compile("treecast_shim")
                .map_err(|error| why(&error))
        })
}

fn why(error: &cc::Error) -> String {
    let text = error.to_string();
    if text.contains("ToolNotFound") || text.contains("Failed to find tool") {
        return no_compiler();
    }
    format!(
        "the C shim does not compile against this libdpdk: {}",
        text.replace('\n', " ")
    )
}

fn no_compiler() -> String {
    "no C compiler was found: install the Debian packages gcc and libc6-dev".into()
}

/// Binds `shim.h` and nothing below it: of DPDK's own types only their names cross.
fn bind(cflags: &[String], out: &Path) -> Result<(), String> {
    // bindgen panics where it can't load libclang; the sentence below says all of it.
    panic::set_hook(Box::new(|_| ()));
    let bindings = panic::catch_unwind(|| {
        bindgen::Builder::default()
            .header("shim.h")
            .clang_args(cflags)
            .allowlist_function("tc_.*")
            .allowlist_type("tc_.*")
            .allowlist_var("TC_.*")
            .allowlist_recursively(false)
            .prepend_enum_name(false)
            .use_core()
            .layout_tests(false)
            .generate_comments(false)
            .generate()
    });
    let _ = panic::take_hook();
    bindings
        .map_err(|_| "libclang was not found: install the Debian package libclang-dev".to_string())?
        .map_err(|error| {
            format!(
                "shim.h can't be bound: {}",
                error.to_string().replace('\n', " ")
            )
        })?
        .write_to_file(out.join("bindings.rs"))
        .map_err(|error| format!("the bindings can't be written: {error}"))
}

/// Links shared: the EAL then loads the drivers from its plugin folder by itself.
fn link(libs: &[String]) {
    for flag in libs {
        if let Some(dir) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={dir}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
}
