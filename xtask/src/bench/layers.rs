//! The content of the images' layers.

use std::io::{self, Write};
use std::path::Path;

use kit::noise::Noise;

use crate::archive;
use crate::disk::Temporary;
use crate::image::{self, GZIP, Layer};
use crate::{Result, disk, packages, shell};

const GIB: u64 = 1024 * 1024 * 1024;
/// The number of layers of `many`, and the total size of its files before compression.
const MANY: usize = 60;
const MANY_BYTES: u64 = 60 * 1024 * 1024;
/// The number of folders of `wide`, and of files in each.
const WIDE: (usize, usize) = (1000, 100);

/// Large packages, each for one layer. Their names differ between releases of Debian.
const LARGE: &[&[&str]] = &[
    &["openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-25-jre-headless"],
    &["golang-1.19-go", "golang-1.24-go", "golang-1.19", "golang-1.24"],
    &["libllvm14", "libllvm19", "libllvm17"],
    &["chromium"],
    &["libreoffice-core"],
    &["fonts-noto-cjk"],
    SOURCES,
];
/// Thousands of small files.
const SOURCES: &[&str] = &["golang-1.19-src", "golang-1.24-src"];

/// A minimal Debian root.
pub fn debian(work: &Path) -> Result<Vec<Layer>> {
    let root = Temporary::new(work.join("root"))?;
    packages::minimal_root(root.path())?;
    Ok(vec![Layer::of_folder(root.path(), work.join("debian.layer"))?])
}

/// Large packages on top of a root, and a last layer of whiteouts, as a clean-up leaves them.
pub fn app(work: &Path) -> Result<Vec<Layer>> {
    let (mut layers, mut removed) = (Vec::new(), Vec::new());
    for (number, candidates) in LARGE.iter().enumerate() {
        let folder = Temporary::new(work.join(format!("package-{number}")))?;
        packages::unpack(candidates, folder.path())?;
        removed.extend(documents(folder.path())?);
        layers.push(Layer::of_folder(folder.path(), work.join(format!("app-{number}.layer")))?);
    }
    let folder = Temporary::new(work.join("whiteouts"))?;
    for name in removed {
        disk::create_folder(&folder.path().join("usr/share/doc"))?;
        disk::write(&folder.path().join("usr/share/doc").join(format!(".wh.{name}")), "")?;
    }
    let locales = folder.path().join("usr/share/locale");
    disk::create_folder(&locales)?;
    disk::write(&locales.join(".wh..wh..opq"), "")?;
    layers.push(Layer::of_folder(folder.path(), work.join("whiteouts.layer"))?);
    Ok(layers)
}

/// Sixty layers with a few source files each.
pub fn many(work: &Path) -> Result<Vec<Layer>> {
    let folder = Temporary::new(work.join("sources"))?;
    packages::unpack(SOURCES, folder.path())?;
    let mut find = shell::program("find");
    let files = shell::read(find.args([".", "-type", "f", "-printf", "%s %p\\n"]).current_dir(folder.path()))?;
    let layer = |(number, names): (usize, String)| {
        let list = work.join("names");
        disk::write(&list, &names)?;
        let mut tar = image::tar(folder.path());
        tar.arg("--files-from").arg(&list);
        Layer::of_tar(tar, work.join(format!("many-{number}.layer")))
    };
    shares(&files, MANY, MANY_BYTES).into_iter().enumerate().map(layer).collect()
}

/// A hundred thousand small files.
pub fn wide(work: &Path) -> Result<Vec<Layer>> {
    Ok(vec![Layer::compressed(work.join("wide.layer"), GZIP, small_files)?])
}

/// One file of 1 GiB.
pub fn big(work: &Path) -> Result<Vec<Layer>> {
    Ok(vec![Layer::compressed(work.join("big.layer"), GZIP, |tar| archive::one_file(tar, GIB))?])
}

/// The names of the documentation folders of a package.
fn documents(folder: &Path) -> Result<Vec<String>> {
    let documents = folder.join("usr/share/doc");
    let folders = if documents.exists() { disk::list(&documents)? } else { Vec::new() };
    Ok(folders.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// Divides a list of sizes and names into `count` lists of names of about the same size, `bytes` in total.
fn shares(files: &str, count: usize, bytes: u64) -> Vec<String> {
    let mut files: Vec<(u64, &str)> =
        files.lines().filter_map(|line| line.split_once(' ')).filter_map(|(n, p)| Some((n.parse().ok()?, p))).collect();
    files.sort_by_key(|(_, path)| *path);
    let mut shares = vec![String::new(); count];
    let mut sum = 0;
    for (size, path) in files {
        let at = usize::try_from(sum * count as u64 / bytes).unwrap_or(count);
        let Some(share) = shares.get_mut(at) else { break };
        share.push_str(path);
        share.push('\n');
        sum += size;
    }
    shares
}

fn small_files(tar: &mut dyn Write) -> io::Result<()> {
    let text = b"a small file among many, of which no two are the same; ";
    let mut noise = Noise::new(0);
    for folder in 0..WIDE.0 {
        for file in 0..WIDE.1 {
            let size = 100 + noise.below(2048) as usize;
            let name = format!("folder-{folder:03}/file-{file:02}");
            tar.write_all(&archive::header(&name, size as u64))?;
            // Some lines of digits are the part of a small file that does not compress.
            let lines: String = (0..8).map(|_| format!("{:016x}\n", noise.word())).collect();
            let mut content: Vec<u8> = lines.bytes().chain(text.iter().copied().cycle()).take(size).collect();
            content.resize(size.next_multiple_of(512), 0);
            tar.write_all(&content)?;
        }
    }
    tar.write_all(&[0; 1024])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_files_into_equal_shares() {
        let files = "4 ./b\n4 ./a\n2 ./d\n4 ./c\nnonsense\n100 ./e\n1 ./f\n";
        assert_eq!(shares(files, 2, 16), ["./a\n./b\n", "./c\n./d\n./e\n"]);
    }
}
