// Binary picture messages: kind u8, 3 bytes 0, width u16, height u16, frame u64, then a JPEG.

const HEADER_BYTES = 16;
const KINDS = ["input", "output"];

/** Draws the picture on its canvas and writes the size of the original below it. */
export async function drawPicture(data) {
  const view = new DataView(data);
  const kind = KINDS[view.getUint8(0)];
  const [width, height] = [view.getUint16(4, true), view.getUint16(6, true)];
  const bitmap = await createImageBitmap(new Blob([data.slice(HEADER_BYTES)], { type: "image/jpeg" }));
  const canvas = document.getElementById(kind);
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  canvas.dataset.frame = view.getBigUint64(8, true);
  bitmap.close();
  document.getElementById(`${kind}-size`).textContent = `${width}×${height}`;
}
