// Reads a segmentation as the OHIF viewer does; prints how many pixels of which segment it places
// on which frame. Arguments: file, rows, columns, frames and the instance it refers to.
import { readFileSync } from "node:fs";
import { adaptersSEG } from "@cornerstonejs/adapters";

const [path, rows, columns, frames, instance] = process.argv.slice(2);
const [R, C, F] = [rows, columns, frames].map(Number);
const imageIds = Array.from({ length: F }, (_, k) => `wadors:/run/frames/${k + 1}`);
const modules = {
  generalImageModule: { sopInstanceUID: instance },
  generalSeriesModule: { modality: "XA" },
  imagePlaneModule: {
    rows: R,
    columns: C,
    imageOrientationPatient: [1, 0, 0, 0, 1, 0],
    imagePositionPatient: [0, 0, 0],
    rowCosines: [1, 0, 0],
    columnCosines: [0, 1, 0],
  },
  instance: { SOPInstanceUID: instance, Rows: R, Columns: C, NumberOfFrames: F },
};
const file = readFileSync(path);
const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
const found = await adaptersSEG.Cornerstone.Segmentation.generateToolState(imageIds, buffer, {
  get: (kind) => modules[kind],
});
const pixels = [];
for (const map of found.labelmapBufferArray) {
  const values = new Uint8Array(map);
  for (let k = 0; k < F; k++) {
    const counts = {};
    for (const v of values.subarray(k * R * C, (k + 1) * R * C)) {
      if (v) counts[v] = (counts[v] ?? 0) + 1;
    }
    for (const [segment, count] of Object.entries(counts)) {
      pixels.push({ frame: k, segment: Number(segment), count });
    }
  }
}
const labels = found.segMetadata.data.filter(Boolean).map((segment) => segment.SegmentLabel);
console.log(JSON.stringify({ labels, pixels }));
