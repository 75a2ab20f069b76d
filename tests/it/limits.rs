//! Limits that options set apply exactly, and their errors name the option.

use kit::archive::{archive, file};
use kit::bench::{Bench, unpack_image};
use kit::image::{Image, Layer};
use kit::noise::noise;

fn two_layers() -> Image {
    Image::new(vec![Layer::of(&[file("a", [b'a'; 5000]), file("b", "1")]), Layer::of(&[file("c", "2")])])
}

#[test]
fn unpack_stops_at_the_limits_of_its_options() {
    let first = archive(&[file("a", [b'a'; 5000]), file("b", "1")]).len();
    let all = first + archive(&[file("c", "2")]).len();
    let check = |options: &[&str], refusal: Option<&str>| {
        let case = format!("{options:?}");
        let unpacked = unpack_image(&two_layers(), options);
        match refusal {
            None => drop(unpacked.done(&case)),
            Some(text) => {
                let outcome = unpacked.refused(&case, 11).outcome;
                outcome.says(text).says(&format!("hint: {} raises this limit", options[0]));
            }
        }
    };
    check(&["--max-entries", "3"], None);
    check(&["--max-entries", "2"], Some("more than 2 archive entries"));
    check(&["--max-unpacked", &all.to_string()], None);
    check(&["--max-unpacked", &(all - 1).to_string()], Some("further bytes of unpacked layers"));
    check(&["--max-unpacked", &(first - 1).to_string()], Some(&format!("more than {} bytes of", first - 1)));
    for size in ["1m", "1M", "1g", "1t", "1048576", "1024k"] {
        check(&["--max-unpacked", size], None);
    }
}

#[test]
fn a_zstd_window_counts_by_what_is_used_of_it_and_not_by_what_is_declared() {
    let noise = noise(300_000);
    let far = archive(&[file("a", &noise), file("b", &noise)]);
    // Zeros repeat the byte before them.
    let near = archive(&[file("a", vec![0; 1 << 20])]);
    // A window of 32 MiB in the header, and one of the size of the content.
    let declared: &[&str] = &["--long=25"];
    for case in ["declared", "content"] {
        let image = |tar: &[u8]| {
            let size = format!("--stream-size={}", tar.len());
            let options: &[&str] = if case == "declared" { declared } else { &["--long=25", &size] };
            Image::new(vec![Layer::zstd_with(tar, options)])
        };
        for limit in ["1k", "200k", "299k"] {
            let outcome = unpack_image(&image(&far), &["--max-zstd-window", limit]).refused(case, 11).outcome;
            outcome.says("bytes of zstd window").says("--max-zstd-window raises");
        }
        for limit in ["320k", "1m", "64m"] {
            unpack_image(&image(&far), &["--max-zstd-window", limit]).done(case);
        }
        unpack_image(&image(&near), &["--max-zstd-window", "64k"]).done(case);
        unpack_image(&image(&near), &[]).done("the default");
    }
    // Many frames, as in zstd:chunked, some of which are empty or skippable.
    let mut layer = Layer::zstd_with(&[], declared);
    layer.blob.extend(b"\x50\x2a\x4d\x18\x03\0\0\0abc");
    for part in near.chunks(1000) {
        layer.blob.extend(Layer::zstd_with(part, declared).blob);
    }
    layer.diff_id = Layer::plain(&near).diff_id;
    unpack_image(&Image::new(vec![layer]), &[]).done("frames");
}

#[test]
fn pull_rejects_an_image_above_the_limit_before_fetching_layers() {
    let (bench, image) = (Bench::new(), two_layers());
    let size: usize = image.layers.iter().map(|layer| layer.blob.len()).sum::<usize>() + image.config_bytes.len();
    let name = image.push(&bench.registry, "app", "latest");
    let outcome = bench.home.run(&["pull", "--max-unpacked", &(size - 1).to_string(), &name]).exits(11);
    outcome.fails_in_one_line().says("--max-unpacked raises");
    bench.assert_no_layer_requested("too large", &image);
    bench.home.run(&["pull", "--max-unpacked", &size.to_string(), &name]).exits(0);
}

#[test]
fn rejects_invalid_limits() {
    for value in ["", "0", "0k", "k", "1x", "1kk", "-1", "+1", "1.5g", "99999999999999999999", "99999999999t", " 1"] {
        for option in ["--max-unpacked", "--max-zstd-window"] {
            let args = ["unpack", option, value, "r.io/app", "root"];
            let outcome = Bench::new().home.run(&args).exits_in(&format!("{args:?}"), 2);
            outcome.fails_in_one_line();
        }
    }
    let bench = Bench::new();
    for args in [
        &["unpack", "--max-entries", "1k", "r.io/app", "root"][..],
        &["unpack", "--max-entries", "many", "r.io/app", "root"],
        &["pull", "--max-entries", "1", "r.io/app"],
        &["digest", "--max-unpacked", "1", "r.io/app"],
    ] {
        bench.home.run(args).exits_in(&format!("{args:?}"), 2).fails_in_one_line();
    }
}
