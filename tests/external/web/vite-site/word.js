export const word = "zero";
