//! Makes small PNGs of images: `{"image": base64, "max_side": 256}` becomes `{"image": base64, "width", "height"}`.
//!
//! Images come from strangers. What a file would unpack to is checked before it is decoded, and the manifest's
//! `max_memory` stands behind that check. Of an animation the first picture is taken.

use std::borrow::Cow;
use std::io::Cursor;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use kiln_handler::{Failure, Job, handler};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest side of a thumbnail whose payload names none, in pixels.
const MAX_SIDE_DEFAULT: u32 = 256;

/// The longest side that can be asked for, in pixels: above it a "thumbnail" is a copy.
const MAX_SIDE_LIMIT: u32 = 2048;

/// What an image may unpack to: 28 megapixels in colour, the common camera's 24 and some. A progressive JPEG takes three
/// times that while it is decoded, which is what the manifest's `max_memory` leaves room for.
const MAX_DECODED_BYTES: u64 = 80 << 20;

handler!(handle);

fn handle(job: Job<Box<RawValue>>) -> Result<Thumbnail, Failure> {
    thumbnail(job.payload).map_err(Failure::Permanent)
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
    #[serde(default = "max_side_default")]
    max_side: u32,
}

fn max_side_default() -> u32 {
    MAX_SIDE_DEFAULT
}

#[derive(Debug, Serialize)]
struct Thumbnail {
    image: String,
    width: u32,
    height: u32,
}

/// Every error here is for good: the same bytes decode no better the next time.
fn thumbnail(payload: Box<RawValue>) -> Result<Thumbnail, String> {
    let (file, max_side) = read(payload.get())?;
    drop(payload); // Large, and the memory is needed now.
    let (image, orientation) = decode(&file)?;
    let small = shrink(image, orientation, max_side);
    let mut png = Vec::new();
    small
        .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
        .map_err(|err| format!("thumbnail cannot be written as PNG: {err}"))?;
    Ok(Thumbnail {
        image: BASE64_STANDARD.encode(png),
        width: small.width(),
        height: small.height(),
    })
}

/// The image file and the longest side of its thumbnail.
fn read(payload: &str) -> Result<(Vec<u8>, u32), String> {
    let Payload { image, max_side } = serde_json::from_str(payload)
        .map_err(|err| format!(r#"payload is not {{"image": "base64", "max_side": 256}}: {err}"#))?;
    if !(1..=MAX_SIDE_LIMIT).contains(&max_side) {
        return Err(format!("max_side is not between 1 and {MAX_SIDE_LIMIT}: {max_side}"));
    }
    let file = BASE64_STANDARD
        .decode(image.as_bytes())
        .map_err(|err| format!("image is not base64: {err}"))?;
    Ok((file, max_side))
}

/// The picture, and how the camera was held.
fn decode(file: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|err| err.to_string())?;
    let format = reader.format().filter(ImageFormat::reading_enabled);
    let format = format.ok_or_else(|| format!("image is not PNG, JPEG, GIF or WebP: it starts {}", start_of(file)))?;
    let broken = |err| format!("image does not decode as {format:?}: {err}");

    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let bytes = decoder.total_bytes();
    if bytes > MAX_DECODED_BYTES {
        return Err(format!(
            "image is too large: {width} x {height} pixels unpack to {bytes} bytes, the most is {MAX_DECODED_BYTES}"
        ));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    decoder.set_limits(limits).map_err(broken)?;
    // A thumbnail that lies on its side is better than none.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((image, orientation))
}

/// Eight bits a channel, upright, no side longer than `max_side`, and never larger than it was.
fn shrink(image: DynamicImage, orientation: Orientation, max_side: u32) -> DynamicImage {
    let fits = image.width() <= max_side && image.height() <= max_side;
    let small = if fits {
        image
    } else {
        image.thumbnail(max_side, max_side)
    };
    let has_alpha = small.color().has_alpha();
    let mut small = if has_alpha {
        small.into_rgba8().into()
    } else {
        DynamicImage::from(small.into_rgb8())
    };
    small.apply_orientation(orientation);
    small
}

/// The first bytes, by which a person may recognise what was sent instead.
fn start_of(file: &[u8]) -> String {
    file.iter()
        .take(16)
        .flat_map(|byte| byte.escape_ascii())
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    fn run(file: &[u8], max_side: u32) -> Result<Thumbnail, String> {
        let payload = serde_json::json!({ "image": BASE64_STANDARD.encode(file), "max_side": max_side, "more": 1 });
        thumbnail(to_raw_value(&payload).expect("JSON"))
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let image = DynamicImage::new_rgb8(width, height);
        image
            .write_to(&mut Cursor::new(&mut file), ImageFormat::Png)
            .expect("a PNG can be written");
        file
    }

    #[test]
    fn the_longer_side_becomes_max_side() {
        let result = run(&png(400, 100), 100).expect("a thumbnail");
        assert_eq!((result.width, result.height), (100, 25));
    }

    #[test]
    fn a_small_image_stays_as_it_is() {
        let result = run(&png(40, 10), 100).expect("a thumbnail");
        assert_eq!((result.width, result.height), (40, 10));
    }

    #[test]
    fn a_decompression_bomb_is_refused_before_it_is_decoded() {
        let mut bomb = png(1, 1);
        bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]); // the header now says 30000 x 30000
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = run(&bomb, 100).expect_err("it is too large");
        assert!(
            error.contains("30000 x 30000 pixels unpack to 2700000000 bytes"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let error = run(b"%PDF-1.7\n", 100).expect_err("it is a PDF");
        assert!(error.ends_with(r"it starts %PDF-1.7\n"), "{error}");
        let error = run(&png(9, 9), 0).expect_err("no side");
        assert!(error.starts_with("max_side is not between"), "{error}");
        let error = thumbnail(to_raw_value(&()).expect("JSON")).expect_err("no payload");
        assert!(error.starts_with("payload is not"), "{error}");
    }

    /// PNG's checksum, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }
}
