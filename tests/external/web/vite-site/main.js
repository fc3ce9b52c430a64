// Shows a word, and a new one when its module changes, without a reload.
import { word } from "./word.js";

const show = (text) => (document.querySelector("#word").textContent = text);
show(word);
import.meta.hot.accept("./word.js", (changed) => show(changed.word));
