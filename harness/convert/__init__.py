"""From a torch program to a Core ML package: conversion, compression, functions, counts of norms, torch ops."""
